"""vlad adapters through its real entry point."""

import hashlib
import json
import re
import subprocess
import sys
from dataclasses import replace

import pytest
import torch
from click.testing import CliRunner

from vlad import adapters
from vlad.adapters.layouts import LAYOUTS, default_params, tensor_shapes, theirs
from vlad.cli import main


@pytest.fixture
def vlad(tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "cache"))

    def run(*args):
        return CliRunner().invoke(main, [*map(str, args)])

    return run


@pytest.fixture
def checkpoint(small_backbone, tmp_path):
    """A file of APRIL-GAN's authors for the small backbone."""
    torch.manual_seed(0)
    params = default_params("april_gan", small_backbone.info)
    shapes = tensor_shapes("april_gan", small_backbone.info, params)
    state = {theirs("april_gan", name): torch.randn(shape) for name, shape in shapes.items()}
    file = tmp_path / "visa.pth"
    torch.save({"trainable_linearlayer": state}, file)
    return file


def test_import_list_show_verify_use_export(vlad, checkpoint, small_file, images, tmp_path):
    done = vlad(
        "adapters", "import", "--head", "april_gan", checkpoint,
        "--auxiliary", "VisA", "--backbone", small_file,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "--adapter april_gan-visa" in done.output

    listed = vlad("adapters", "list").output
    assert "april_gan-visa" in listed and "here" in listed and "not here" in listed
    shown = vlad("adapters", "show", "april_gan-visa").output
    assert 'auxiliary = "VisA"' in shown and "sha256 = " in shown
    assert "fits" in vlad("adapters", "verify", "april_gan-visa").output

    out = tmp_path / "run"
    options = ["--backbone", small_file, "--device", "cpu", "--category", "nut"]
    done = vlad(
        "score", images, *options,
        "--head", "april_gan", "--adapter", "april_gan-visa", "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    settings = json.loads((out / "run.json").read_text())
    assert settings["protocol"]["april_gan"] == "zero-shot, trained on VisA"
    assert settings["adapters"]["april_gan"]["name"] == "april_gan-visa"
    assert "trained on VisA" in (out / "report.html").read_text()

    done = vlad("adapters", "export", "april_gan-visa", "--out", tmp_path / "back.pth")
    assert done.exit_code == 0, done.output
    back = torch.load(tmp_path / "back.pth", weights_only=True)["trainable_linearlayer"]
    for name, tensor in torch.load(checkpoint)["trainable_linearlayer"].items():
        assert torch.equal(back[name], tensor)


def test_a_checkpoint_of_several_entries(vlad, small_backbone, small_file, tmp_path):
    params = default_params("adaptclip", small_backbone.info)
    state = {
        theirs("adaptclip", name): torch.rand(shape)
        for name, shape in tensor_shapes("adaptclip", small_backbone.info, params).items()
    }
    state |= {name: state[name][None, None] for name in ("ctx_pos", "ctx_neg")}
    starts = {
        "textual_learner": ("ctx_",),
        "visual_learner": ("local_adater.fc", "global_adapter.fc"),
        "pq_learner": ("local_adapter.0", "global_adapter.0", "share"),
    }
    torch.save(
        {
            key: {name: x for name, x in state.items() if name.startswith(start)}
            for key, start in starts.items()
        },
        tmp_path / "epoch_15.pth",
    )
    done = vlad(
        "adapters", "import", "--head", "adaptclip", tmp_path / "epoch_15.pth",
        "--auxiliary", "VisA", "--backbone", small_file, "--out", tmp_path / "mine",
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    assert "imported from epoch_15.pth" in vlad("adapters", "show", tmp_path / "mine").output
    assert vlad("adapters", "export", tmp_path / "mine", "--out", tmp_path / "b").exit_code == 0
    back = torch.load(tmp_path / "b", weights_only=True)
    assert back.keys() == starts.keys()
    assert torch.equal(back["pq_learner"]["sharebn.0.weight"], state["sharebn.0.weight"])


def test_verify_sees_a_changed_file(vlad, checkpoint, small_file, tmp_path):
    out = tmp_path / "mine"
    done = vlad(
        "adapters", "import", "--head", "april_gan", checkpoint,
        "--auxiliary", "VisA", "--backbone", small_file, "--out", out,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    file = out / "adapter.safetensors"
    content = bytearray(file.read_bytes())
    content[-1] ^= 1
    file.write_bytes(content)
    done = vlad("adapters", "verify", out)
    assert done.exit_code == 2
    assert "was changed" in done.output


@pytest.mark.parametrize(
    ("args", "words"),
    [
        (["import", "--head", "memory", "FILE", "--auxiliary", "x"], "uses no adapter"),
        (["import", "--head", "april_gan", "nowhere.pth", "--auxiliary", "x"], "no file nowhere"),
        (["import", "--head", "april_gan", "FILE"], "--auxiliary"),
        (["import", "--head", "april_gan", "FILE", "--auxiliary", " "], "must be one line of text"),
        (
            ["import", "--head", "april_gan", "FILE", "--auxiliary", "x", "--name", "../x"],
            "not a valid name",
        ),
        (
            ["import", "--head", "april_gan", "FILE", "--auxiliary", "x", "--name", "x."],
            "not a valid name",
        ),
        (
            ["import", "--head", "april_gan", "FILE", "--auxiliary", "x\ny"],
            "must be one line of text",
        ),
        (["import", "--head", "april_gan", "FILE", "--auxiliary", "x", "--layers", "a"], "6,12,18"),
        (["import", "--head", "april_gan", "FILE", "--auxiliary", "x"], "choose the --backbone"),
        (["show", "nowhere"], "Unknown adapter 'nowhere'"),
        (["verify", "nowhere"], "Unknown adapter 'nowhere'"),
        (["export", "nowhere", "--out", "x.pth"], "Unknown adapter 'nowhere'"),
    ],
)
def test_bad_input_is_one_sentence(vlad, checkpoint, args, words):
    done = vlad("adapters", *(str(checkpoint) if arg == "FILE" else arg for arg in args))
    assert done.exit_code == 2, done.output
    assert words in done.output
    assert "Traceback" not in done.output


def test_heads_and_adapters_that_do_not_belong_together(
    vlad, checkpoint, small_file, dinov2_folder, images, tmp_path
):
    mine = tmp_path / "mine"
    vlad(
        "adapters", "import", "--head", "april_gan", checkpoint,
        "--auxiliary", "VisA", "--backbone", small_file, "--out", mine,
    )  # fmt: skip
    common = [images, "--category", "nut", "--device", "cpu", "--out", tmp_path / "run"]
    small = ["--backbone", small_file]
    for args, words in (
        (["--head", "april_gan", *small], "needs a trained adapter"),
        (["--head", "winclip", "--adapter", mine, *small], "not among winclip"),
        (["--head", "april_gan", "--adapter", "nowhere", *small], "Unknown adapter 'nowhere'"),
        (["--head", "april_gan", "--adapter", mine, "--adapter", mine, *small], "two adapters"),
        (
            ["--head", "april_gan", "--adapter", mine, "--backbone", "vlad-tiny"],
            "has blocks 1 to 3",
        ),
        (
            ["--head", "april_gan", "--adapter", mine, "--backbone", dinov2_folder],
            "has no text encoder",
        ),
    ):
        done = vlad("score", *common, *args)
        assert done.exit_code == 2, done.output
        assert words in done.output
    assert not (tmp_path / "run").exists()


@pytest.fixture(scope="module")
def wide_file(small_config, tmp_path_factory):
    """A model that is wider than the small one."""
    import open_clip
    from safetensors.torch import save_file

    config = small_config | {"embed_dim": 48}
    config["vision_cfg"] = config["vision_cfg"] | {"width": 192}
    path = tmp_path_factory.mktemp("weights") / "wide.safetensors"
    model = open_clip.CLIP(**config)
    save_file({k: v.contiguous() for k, v in model.state_dict().items()}, path)
    return path


@pytest.mark.parametrize(
    ("head", "adapter", "backbone", "words"),
    [
        ("clip_ad", "clip_ad", "wide", "(32,), but wide needs (48,)"),
        ("uniadet", "uniadet", "wide", "(2, 32), but wide needs (2, 48)"),
        ("clip_ad", "clip_ad", "vlad-tiny", "has blocks 1 to 3"),
        ("uniadet", "uniadet", "vlad-tiny", "has blocks 1 to 3"),
        ("tipsomaly", "tipsomaly", "vlad-tiny", "uses block 4, but vlad-tiny has blocks 1 to 3"),
        ("clip_ad", "uniadet", "small", "is for head uniadet, which is not among clip_ad"),
        ("uniadet", "clip_ad", "small", "is for head clip_ad, which is not among uniadet"),
        ("tipsomaly", "clip_ad", "small", "is for head clip_ad, which is not among tipsomaly"),
        ("uniadet", None, "small", "Head uniadet needs a trained adapter"),
        ("uniadet", "uniadet", "dinov2", "has blocks 1 to 3"),
        ("clip_ad", None, "dinov2", "has no text encoder"),
        ("clip_ad", "clip_ad", "dinov2", "has no text encoder"),
        ("anovl", None, "dinov2", "has no text encoder"),
        ("tipsomaly", None, "dinov2", "has no text encoder"),
    ],
)
def test_heads_on_backbones_that_do_not_fit(
    request, vlad, small_adapter, images, tmp_path, head, adapter, backbone, words
):
    names = {"small": "small_file", "wide": "wide_file", "dinov2": "dinov2_folder"}
    place = request.getfixturevalue(names[backbone]) if backbone in names else backbone
    more = ["--adapter", small_adapter(adapter)] if adapter else []
    done = vlad(
        "score", images, "--head", head, "--category", "nut", "--backbone", place,
        "--device", "cpu", "--out", tmp_path / "run", *more,
    )  # fmt: skip
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    assert words in line
    assert line.endswith(".") and "; " in line
    assert not (tmp_path / "run").exists()


def test_help_names_the_heads_with_files_of_their_authors(vlad):
    said = " ".join(vlad("adapters", "import", "--help").output.split())
    named = re.search(r"Head of the checkpoint: ([a-z_, ]+)\.", said)[1]
    with_files = [name for name, layout in LAYOUTS.items() if layout.authors]
    assert named.replace(" or ", ", ").split(", ") == sorted(with_files)


@pytest.mark.parametrize("head", ["anovl", "uniadet"])
def test_heads_without_files_of_the_authors_import_none(vlad, checkpoint, small_file, head):
    args = ["--head", head, checkpoint, "--auxiliary", "VisA", "--backbone", small_file]
    done = vlad("adapters", "import", *args)
    assert done.exit_code == 2, done.output
    assert "uses no adapter" in done.output or "No other program reads" in done.output


def test_what_knows_no_category_is_scored_without_one(
    vlad, small_file, small_adapter, images, tmp_path
):
    options = ["--backbone", small_file, "--device", "cpu", "--out", tmp_path / "run"]
    adapter = small_adapter("anomalyclip")
    done = vlad("score", images, "--head", "anomalyclip", "--adapter", adapter, *options)
    assert done.exit_code == 0, done.output


def test_import_of_a_file_whose_sha256_is_in_the_registry(
    vlad, checkpoint, small_file, monkeypatch
):
    from vlad.adapters import cards

    card = {
        "auxiliary": "VisA",
        "backbone": "ViT-L-14-336/openai",
        "licence": "MIT",
        "source_sha256": hashlib.sha256(checkpoint.read_bytes()).hexdigest(),
    }
    monkeypatch.setattr(cards, "registry", lambda: {"of-theirs": card})
    args = ["adapters", "import", "--head", "april_gan", checkpoint, "--backbone", small_file]
    done = vlad(*args, "--auxiliary", "MVTec AD")
    assert done.exit_code == 2 and "trained on VisA and not on MVTec AD" in done.output
    done = vlad(*args, "--auxiliary", "visa")
    assert done.exit_code == 0, done.output
    assert "--adapter of-theirs" in done.output
    # equal weights may have another name, so this is no error
    assert "Note: of-theirs was trained on ViT-L-14-336/openai." in done.stderr
    shown = vlad("adapters", "show", "of-theirs").output
    assert 'auxiliary = "VisA"' in shown and 'licence = "MIT"' in shown


def test_import_claims_no_licence_and_makes_a_name_of_any_words(vlad, checkpoint, small_file):
    args = ["adapters", "import", "--head", "april_gan", checkpoint, "--backbone", small_file]
    done = vlad(*args, "--auxiliary", "VisA, & Clinic/DB")
    assert "--adapter april_gan-visa-clinic-db" in done.output
    assert 'licence = "not stated"' in vlad("adapters", "show", "april_gan-visa-clinic-db").output


def test_an_import_that_stopped_half_way_can_be_begun_anew(
    vlad, checkpoint, small_file, monkeypatch
):
    from vlad import adapters as vlad_adapters
    from vlad.errors import OutputError

    args = [
        "adapters", "import", "--head", "april_gan", checkpoint,
        "--auxiliary", "VisA", "--backbone", small_file,
    ]  # fmt: skip

    def full(*_):
        raise OutputError("the disk is full")

    with monkeypatch.context() as patch:
        patch.setattr(vlad_adapters, "save_adapter", full)
        assert vlad(*args).exit_code == 2
    before = vlad("adapters", "list").output.count(" here")
    assert vlad(*args).exit_code == 0
    assert vlad("adapters", "list").output.count(" here") == before + 1
    assert vlad(*args).exit_code == 2  # what is whole is never overwritten


def test_an_import_notices_that_its_file_was_replaced(vlad, checkpoint, small_file, monkeypatch):
    digest_of = adapters.digest_of

    def replaced(adapter):
        checkpoint.write_bytes(checkpoint.read_bytes()[:-1])
        return digest_of(adapter)

    monkeypatch.setattr(adapters, "digest_of", replaced)
    done = vlad(
        *("adapters", "import", "--head", "april_gan", "--backbone", small_file, checkpoint),
        *("--auxiliary", "visa", "--name", "mine"),
    )
    assert done.exit_code == 2 and "changed while it was read; import it again" in done.output
    assert "mine" not in vlad("adapters", "list").output


def test_an_adapter_that_is_not_whole_is_not_exported(vlad, small_adapter, small_file, tmp_path):
    made = adapters.read_adapter(adapters.find_adapter(small_adapter("april_gan")))
    adapters.save_adapter(replace(made, tensors=dict([*made.tensors.items()][1:])), tmp_path)
    file = tmp_path / "out.pth"
    done = vlad("adapters", "export", tmp_path, "--out", file, "--backbone", small_file)
    assert done.exit_code == 2 and "is missing from" in done.output and not file.exists()


def test_list_in_a_process_of_its_own(run_env):
    done = subprocess.run(
        [sys.executable, "-m", "vlad", "adapters", "list"],
        env=run_env,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    assert "anomalyclip-visa" in done.stdout

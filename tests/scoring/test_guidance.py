"""Any head on features that prompts guide: what is kept, what is removed, and who refuses."""

import json

import pytest
import torch
from click.testing import CliRunner

from vlad.cli import main
from vlad.detector import Detector
from vlad.errors import HeadError, InputError
from vlad.heads import load_head
from vlad.maths.guidance import guidance_basis, guided
from vlad.prompts import load_bank
from vlad.results.finished import read_finished
from vlad.scoring.panel import Panel
from vlad.scoring.setup import Setup
from vlad.scoring.textcache import embed_prompts

JOINT = {"patch_output": "ln_post_proj", "layers": (1.0,)}
LIGHT = """
title = "Light"
source = "ours"
licence = "CC0-1.0"
templates = ["a photo of {}.", "a view of {}."]
[states]
normal = ["a bright {}", "a sunny {}"]
anomalous = ["a dark {}"]
"""


@pytest.fixture
def light(tmp_path):
    file = tmp_path / "light.toml"
    file.write_text(LIGHT)
    return str(file)


def panel(backbone, head, images=(), **options):
    made = Panel(backbone, {"head": head}, **options)
    return made.fit(images) if images else made


def scored(made, images):
    return made.score([made.prepare(image) for image in images], "nut")["head"]


def basis_of(backbone, bank, directions=None):
    text = embed_prompts(backbone, load_bank(bank).expand("object"))
    return guidance_basis([text.normal, text.anomalous], directions)


@pytest.mark.parametrize("use", ["guide", "ignore"])
def test_memory_compares_projected_patches(small_backbone, drawn, light, use):
    head = load_head("memory", **JOINT)
    made = panel(small_backbone, head, drawn[:2], **{use: light}, directions=2)
    found = scored(made, drawn[2:])
    basis = basis_of(small_backbone, light, 2)
    plain = Panel(small_backbone, {"head": load_head("memory", **JOINT)})
    tokens = []
    for part in (drawn[:2], drawn[2:]):
        (features,) = plain.extractor.extract(
            [plain.prepare(image) for image in part], list(plain.specs.values())
        )
        (patches,) = features.patches.values()
        tokens.append(guided(patches, basis, use == "ignore"))
    known, seen = (torch.nn.functional.normalize(x, dim=-1) for x in tokens)
    distance = (1 - seen @ known.flatten(0, 1).T).amin(dim=-1)
    top = distance.topk(max(1, int(0.01 * distance.shape[1])), dim=1).values.mean(dim=1)
    torch.testing.assert_close(found.image_score, top, atol=1e-5, rtol=1e-4)


def test_texts_and_images_of_winclip_are_guided_alike(small_backbone, drawn, light):
    """Cosines of the projections are those of the coordinates along the directions."""
    found = scored(panel(small_backbone, load_head("winclip"), guide=light), drawn)
    head = load_head("winclip")
    plain = panel(small_backbone, head)
    basis, text = basis_of(small_backbone, light), plain.text("head", "nut")
    (features,) = plain.extractor.extract(
        [plain.prepare(image) for image in drawn], list(plain.specs.values())
    )
    axis = [rows.mean(dim=0) @ basis.T for rows in (text.normal, text.anomalous)]
    sides = torch.nn.functional.normalize(torch.stack(axis), dim=-1)
    cosine = torch.nn.functional.normalize(features.image @ basis.T, dim=-1) @ sides.T
    expected = (cosine / 0.07).softmax(dim=-1)[:, 1]
    torch.testing.assert_close(found.image_score, expected, atol=1e-5, rtol=1e-4)
    assert (found.image_score - scored(plain, drawn).image_score).abs().max() > 1e-3


def test_guide_then_ignore_what_is_left(small_backbone, light):
    made = panel(small_backbone, load_head("winclip"), guide="winclip", ignore=light, directions=3)
    first, second = (basis_of(small_backbone, bank, 3) for bank in ("winclip", light))
    x = torch.randn(5, first.shape[1], generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(made.guidance.project(x), guided(guided(x, first), second, True))


def test_heads_that_cannot_be_guided(small_backbone, small_adapter, light):
    for head in (load_head("memory"), load_head("musc"), load_head("statistics")):
        with pytest.raises(HeadError, match="outside the space of text"):
            panel(small_backbone, head, guide=light)
    with pytest.raises(HeadError, match="learned from features as they are"):
        panel(small_backbone, load_head("hftt", adapter=small_adapter("hftt")), guide=light)


def test_what_leaves_nothing_is_refused(small_backbone, light):
    with pytest.raises(HeadError, match="nothing is left to compare"):
        panel(small_backbone, load_head("winclip"), guide=light, ignore=light)


def test_directions_of_nothing_are_refused():
    with pytest.raises(InputError, match="applies to `guide` and `ignore`"):
        Setup(directions=2)


def test_a_run_says_what_guided_it(small_file, category, light, tmp_path):
    root = tmp_path / "nut"
    category(root, normal=2)
    said = ["score", root / "test", "--normal", root / "train", "--head", "memory", "--out"]
    said += [tmp_path / "run", "--param", "memory.patch_output=ln_post_proj", "--ignore", light]
    said += ["--directions", 2, "--backbone", small_file, "--device", "cpu"]
    done = CliRunner().invoke(main, [str(word) for word in said])
    assert done.exit_code == 0, done.output
    used = json.loads((tmp_path / "run" / "run.json").read_text())["guidance"]
    assert {use: (x["bank"], x["directions"]) for use, x in used.items()} == {
        "ignore": ("light", 2)
    }
    done = CliRunner().invoke(main, [*map(str, said), "--resume"])
    assert done.exit_code == 0, done.output
    read_finished(tmp_path / "run")


def test_a_calibration_is_for_runs_guided_alike(small_file, drawn, light, tmp_path):
    good = tmp_path / "good"
    good.mkdir()
    for i in range(12):
        drawn[i % 4].rotate(i).save(good / f"{i}.png")
    drawn[4].save(tmp_path / "4.png")
    said = ["score", good, "--head", "memory", "--normal", tmp_path / "4.png", "--backbone"]
    said += [small_file, "--device", "cpu", "--param", "memory.patch_output=ln_post_proj", "--out"]

    def vlad(*words):
        return CliRunner().invoke(main, [str(word) for word in words])

    assert vlad(*said, tmp_path / "run").exit_code == 0
    done = vlad("calibrate", tmp_path / "run", "--false-alarms", 0.2, "--out", tmp_path / "c.json")
    assert done.exit_code == 0, done.output
    done = vlad(*said, tmp_path / "b", "--ignore", light, "--calibration", tmp_path / "c.json")
    assert done.exit_code == 2 and "was made with other guidance" in done.output, done.output


def test_a_saved_detector_has_its_banks(small_file, drawn, light, tmp_path):
    made = Detector(
        "memory", head_params=JOINT, guide=light, ignore="medical", directions=3,
        backbone=str(small_file), device="cpu",
    ).fit(drawn[:2])  # fmt: skip
    expected = made.score(drawn).image_score
    made.save(tmp_path / "saved")
    (tmp_path / "light.toml").unlink()
    again = Detector.load(tmp_path / "saved")
    assert again.score(drawn).image_score.tolist() == expected.tolist()
    again.directions = 2
    with pytest.raises(HeadError, match="`directions` changed after `fit`"):
        again.score(drawn)

"""vlad backbones: what is here, what one can do, and how it gets to a machine without a network."""

import pytest
from click.testing import CliRunner

from vlad.backbones import remote_source
from vlad.backbones.known import known_backbones
from vlad.cli import main
from vlad.types import NATIVE


def run(*args):
    return CliRunner().invoke(main, ["backbones", *map(str, args)])


def test_the_list_names_what_is_here_and_what_can_be_downloaded():
    output = run().output
    lines = output.splitlines()
    assert lines[1].split()[0] == "vlad-tiny"
    for known in known_backbones():
        rows = [line for line in lines if line.startswith(f"{known.name} ")]
        assert len(rows) >= 1
        if known.name != "vlad-tiny":
            assert known.licence in rows[0] and known.use in rows[0]
    assert "ViT-B-16=weights.pt" in output
    assert "The default is ViT-B-16-plus-240/laion400m_e31" in output


def test_one_on_this_disk_is_described():
    output = run("vlad-tiny").output
    for words in (
        "3 blocks of 664 channels",
        "256×256 pixels, or any multiple of 16; a patch token every 16 pixels",
        "128 dimensions, shared with text",
        "separate passes of windows",
        "bicubic; mean 0.5 0.5 0.5, std 0.5 0.5 0.5",
        "Apache-2.0",
        "vlad-tiny.safetensors (",
    ):
        assert words in output


def test_a_folder_says_what_its_library_does_to_images(dinov2_folder):
    output = run(dinov2_folder).output
    assert "no text encoder" in output
    assert "learned tokens in its text encoder" not in output
    assert "bicubic_offset" in output


@pytest.mark.parametrize(
    ("name", "has", "lacks"),
    [
        ("ViT-B-32/openai", ["12 blocks of 768 channels", "windows"], []),
        ("RN50/openai", ["4 blocks of 256, 512, 1024, 2048 channels"], ["windows", "positions"]),
        ("timm/resnet18.a1_in1k", ["no text encoder", "any multiple of 32"], ["windows"]),
    ],
)
def test_one_of_a_hub_is_described_without_its_weights(name, has, lacks):
    done = run(name)
    assert done.exit_code == 0
    assert all(words in done.output for words in has)
    assert not any(words in done.output for words in lacks)
    assert f"vlad backbones fetch {name}" in done.output


@pytest.mark.parametrize("args", [["nosuch"], ["fetch", "vlad-tiny", "--to", "x"]])
def test_what_cannot_be_described_or_fetched_is_one_sentence(args):
    done = run(*args)
    assert done.exit_code == 2
    assert done.output.count("\n") == 1 and done.output.startswith("Error: ")


def test_known_backbones_are_those_of_their_libraries():
    for known in known_backbones():
        if known.name == "vlad-tiny":
            continue
        source, rest = remote_source(known.name)
        assert source.repository(rest)
        if source.__name__.endswith("transformers"):  # whose configs are on the hub
            continue
        info = source.describe(rest)
        assert info.has_text == known.kind.endswith("with text")
        assert (info.capabilities == NATIVE) == known.kind.startswith("plain ViT")


@pytest.mark.parametrize("name", ["ViT-B-16-plus-240/laion400m_e31", "MobileCLIP2-B/dfndr2b"])
def test_sizes_are_those_of_the_architectures(name):
    import open_clip
    import torch

    (known,) = (known for known in known_backbones() if known.name == name)
    with torch.device("meta"):
        model = open_clip.create_model(name.partition("/")[0], device="meta")
    count = sum(x.numel() for x in model.parameters())
    assert known.parameters == pytest.approx(count / 1e6, rel=0.01)

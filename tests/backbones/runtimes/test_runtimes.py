"""Other runtimes give what torch gives: every kind of pass, any number of images."""

from functools import partial

import pytest
import torch

from vlad.backbones import load_backbone
from vlad.backbones.runtimes import library, load_runtime
from vlad.errors import GraphError
from vlad.system.resources import cache_folder
from vlad.types import Stream

STREAM = Stream("vv", first_block=2)
PASSES = {
    "taps": {"taps": [(None, 1), (None, 3)], "image": False},
    "streams": {"taps": [(STREAM, 4), (None, 4)], "activation": "quick_gelu"},
    "attention": {"taps": [(Stream("attention", first_block=2), 3), (None, 4)]},
    "windows": {"taps": [(None, 4)], "windows": (2, 3)},
    "size 96 bilinear": {"taps": [(None, 4)], "pos_embed": "bilinear"},
    "size 96 bicubic": {"taps": [(None, 4)], "pos_embed": "bicubic"},
    "size 96 bicubic_antialias": {"taps": [(None, 4)]},
    "size 32 bicubic_antialias": {"taps": [(STREAM, 4)], "windows": (2,)},
    "prompts": {"taps": [(None, 4)], "prompts": {1: 2, 3: 2}},
}


def noise(*shape):
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1))


def flat(taps):
    return [*(x for _, x in sorted(taps.patches.items(), key=repr)), *taps.windows.values()] + (
        [] if taps.last is None else [taps.last]
    )


@pytest.fixture(scope="module", params=["onnx", "openvino"])
def backbone(request, small_file):
    pytest.importorskip({"onnx": "onnxruntime"}.get(request.param, request.param))
    return load_backbone(str(small_file), runtime=request.param)


@torch.no_grad()
@pytest.mark.parametrize("kind", PASSES)
def test_a_pass_is_that_of_torch(backbone, small_backbone, kind):
    options = dict(PASSES[kind])
    side = int(kind.split()[1]) if kind.startswith("size") else 64
    for images in (1, 3):
        pixels = noise(images, 3, side, side)
        if kind == "prompts":
            options["prompts"] = {n: noise(images, 2, 128) for n in PASSES[kind]["prompts"]}
        expected, found = (
            small_backbone.vision(pixels, **options),
            backbone.forward(pixels, **options),
        )
        assert found.grid == expected.grid
        assert found.patches.keys() == expected.patches.keys()
        for x, y in zip(flat(found), flat(expected), strict=True):
            torch.testing.assert_close(x, y, atol=1e-4, rtol=0)


def test_a_graph_is_made_once_and_again_when_it_is_broken(
    backbone, small_file, tmp_path, monkeypatch
):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path))
    pixels = noise(1, 3, 64, 64)

    def score():
        made = load_backbone(str(small_file), runtime=backbone.runtime)
        return made.forward(pixels, taps=[(None, 2)], image=False).patches[None, 2]

    first = score()
    (folder,) = (cache_folder() / "graphs").iterdir()
    files = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    torch.testing.assert_close(score(), first)
    assert files == {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    for path in files:
        path.write_bytes(b"broken")
    torch.testing.assert_close(score(), first)


def test_a_pass_is_compiled_once(small_backbone, small_file, monkeypatch):
    """Also where positions are resized, which a compiled pass must not do itself."""
    graphs = []

    def count(graph, inputs):
        graphs.append(graph)
        return graph.forward

    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend=count))
    made = load_backbone(str(small_file), "cpu", runtime="compile")
    for times, side in enumerate((64, 96, 32), start=1):
        pixels = noise(2, 3, side, side)
        expected = flat(small_backbone.vision(pixels, taps=[(None, 4)]))
        for _ in range(3):
            torch.testing.assert_close(flat(made.forward(pixels, taps=[(None, 4)])), expected)
        if times == 1:
            whole = len(graphs)
        assert len(graphs) == times * whole > 0


def test_a_lower_precision_stays_near(backbone, small_backbone, small_file):
    dtype = {"onnx": "int8", "openvino": "bfloat16"}[backbone.runtime]
    pixels = noise(2, 3, 64, 64)
    low = load_backbone(str(small_file), dtype=dtype, runtime=backbone.runtime)
    assert (low.runtime, low.precision.split()[0]) == (backbone.runtime, dtype)
    x = low.forward(pixels, taps=[(None, 4)], image=False).patches[None, 4]
    y = small_backbone.vision(pixels, taps=[(None, 4)], image=False).patches[None, 4]
    assert 0 < (x - y).norm() < 0.05 * y.norm()


def test_int8_weights_are_made_for_the_processor(small_backbone, small_file, tmp_path, monkeypatch):
    """Without instructions for it, sums of full bytes overflow; 7 bits leave them room."""
    onnx = pytest.importorskip("onnx")
    pytest.importorskip("onnxruntime")
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path))
    pixels, seen = noise(1, 3, 64, 64), {}
    expected = small_backbone.vision(pixels, taps=[(None, 4)], image=False).patches[None, 4]
    for exact in (True, False, True, False):
        monkeypatch.setattr("vlad.backbones.runtimes.onnx.sums_bytes_exactly", lambda x=exact: x)
        made = load_backbone(str(small_file), dtype="int8", runtime="onnx")
        assert made.precision == ("int8" if exact else "int8 with weights of 7 bits")
        found = made.forward(pixels, taps=[(None, 4)], image=False).patches[None, 4]
        graphs = set((cache_folder() / "graphs").iterdir())
        if exact not in seen:
            (seen[exact],) = graphs - set(seen.values())
        assert graphs == set(seen.values())  # each is made once, and used by its like alone
    assert 0 < (found - expected).norm() < 0.05 * expected.norm()
    largest = {exact: largest_weight(onnx, folder) for exact, folder in seen.items()}
    assert largest[False] == 64 and largest[True] > 120


def largest_weight(onnx, folder) -> int:
    """The largest magnitude among the weights in bytes of a graph."""
    (file,) = folder.glob("*.onnx")
    found = map(onnx.numpy_helper.to_array, onnx.load(file).graph.initializer)
    return max(abs(x.astype(int)).max() for x in found if x.dtype == "int8" and x.ndim == 2)


def test_what_cannot_be_is_said(small_file):
    with pytest.raises(GraphError, match="Unknown runtime 'onyx'"):
        load_runtime("onyx")
    with pytest.raises(GraphError, match="does not support int8"):
        load_runtime("torch", "int8")
    with pytest.raises(GraphError, match="runs on the CPU"):
        load_backbone(str(small_file), "cuda", runtime="onnx")
    with pytest.raises(GraphError, match=r"pip install 'vlad-vision\[onnx\]'"):
        library("no_such_library", "onnx")


def test_a_cache_that_cannot_be_written_to_is_said(backbone, small_file, tmp_path, monkeypatch):
    from vlad.errors import OutputError

    (tmp_path / "file").touch()
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "file"))
    made = load_backbone(str(small_file), runtime=backbone.runtime)
    with pytest.raises(OutputError, match="cannot write"):
        made.forward(noise(1, 3, 64, 64), taps=[(None, 1)], image=False)

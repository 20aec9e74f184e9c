"""How scored images look: brightness, sharpness and embedding, in memory and in a run's folder."""

from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageEnhance, ImageFilter

from vlad.heads import load_head
from vlad.images import to_pixels
from vlad.images.tiles import WHOLE, Tiling
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.results.seen import FILE, append_seen, read_seen
from vlad.runs.run import Settings, run
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.scoring.setup import Setup
from vlad.types import Sample, Seen


def looks(backbone, images, *heads, tiling=WHOLE, batch_size=4):
    """The `Seen` of each image in memory, scored by heads that are fitted on the first two."""
    made = Panel(backbone, {name: load_head(name) for name in heads}, tiling=tiling)
    fitted = [name for name in heads if made.heads[name].normals == "needed"]
    if fitted:
        made.fit(images[:2], fitted)
    samples = [Sample(i, str(i), "nut") for i in range(len(images))]
    batches = score_samples(made, samples, batch_size=batch_size, open_image=images.__getitem__)
    return [scored.seen for batch in batches for scored in batch]


def plain_sharpness(grey):
    """log variance of the Laplacian, pixel by pixel, in proportion to mean grey."""
    height, width = grey.shape
    found = [
        4 * grey[y, x] - grey[y - 1, x] - grey[y + 1, x] - grey[y, x - 1] - grey[y, x + 1]
        for y in range(1, height - 1)
        for x in range(1, width - 1)
    ]
    return np.log(np.var(found) / np.mean(grey) ** 2)


def test_brightness_is_the_mean_grey_and_sharpness_the_contrast_of_edges(small_backbone, drawn):
    for image, seen in zip(drawn, looks(small_backbone, drawn, "memory"), strict=True):
        grey = to_pixels(image, 64, (0, 0, 0), (1, 1, 1)).astype(float).mean(axis=0)
        assert seen.brightness == pytest.approx(grey.mean(), abs=1e-4)
        assert seen.sharpness == pytest.approx(plain_sharpness(grey), abs=1e-3)


@pytest.mark.parametrize("head, least", [("memory", 0.5), ("statistics", 0.2)])
def test_a_darker_image_is_darker_and_a_blurred_one_less_sharp(small_backbone, drawn, head, least):
    dark = ImageEnhance.Brightness(drawn[0]).enhance(0.8)
    blurred = drawn[0].filter(ImageFilter.GaussianBlur(3))
    first, _, darker, softer = looks(small_backbone, [*drawn[:2], dark, blurred], head)
    assert darker.brightness == pytest.approx(0.8 * first.brightness, rel=0.02)
    assert softer.sharpness < first.sharpness - least
    assert softer.brightness == pytest.approx(first.brightness, rel=0.02)


@pytest.mark.parametrize("head", ["memory", "statistics"])
@pytest.mark.parametrize("gain", [0.6, 1.3])
def test_dimmer_or_brighter_light_alone_leaves_sharpness_as_it_was(
    small_backbone, drawn, head, gain
):
    images = [Image.fromarray((np.asarray(x) * 0.7).astype(np.uint8)) for x in drawn[:2]]
    changed = ImageEnhance.Brightness(images[0]).enhance(gain)
    first, _, now = looks(small_backbone, [*images, changed], head)
    assert now.brightness == pytest.approx(gain * first.brightness, rel=0.03)
    assert now.sharpness == pytest.approx(first.sharpness, abs=0.2)  # of 8-bit values


def test_the_embedding_is_the_mean_patch_token_of_the_last_block_read(small_backbone, drawn):
    panel = Panel(small_backbone, {"memory": load_head("memory")}).fit(drawn[:2])
    features = panel.extractor.extract([panel.prepare(drawn[3])], [panel.specs["memory"]])[0]
    tokens = features.patches[max(features.patches)][0].numpy()
    expected = tokens.mean(axis=0) / np.linalg.norm(tokens.mean(axis=0))
    seen = looks(small_backbone, drawn, "memory")[3]
    np.testing.assert_allclose(seen.embedding, expected, atol=1e-3)
    assert seen.embedding.dtype == np.float32


def test_heads_without_patch_tokens_give_what_they_read(small_backbone, drawn):
    assert looks(small_backbone, drawn, "statistics")[0].embedding.shape == (12,)
    assert looks(small_backbone, drawn, "winclip")[0].embedding.shape == (32,)


def test_an_image_in_tiles_looks_like_the_mean_of_its_tiles(small_backbone, drawn):
    tiling = Tiling(48, 0.0)
    image = drawn[0].resize((96, 48))
    tiles = [image.crop((0, 0, 48, 48)), image.crop((48, 0, 96, 48))]
    left, right = looks(small_backbone, tiles, "memory")
    for batch_size in (1, 4):  # tiles of one image in several passes
        whole = looks(
            small_backbone, [image, image], "memory", tiling=tiling, batch_size=batch_size
        )[0]
        assert whole.brightness == pytest.approx((left.brightness + right.brightness) / 2)
        assert whole.sharpness == pytest.approx((left.sharpness + right.sharpness) / 2)
        assert np.linalg.norm(whole.embedding) == pytest.approx(1, abs=1e-3)


def start(backbone, images, out, heads=("memory",), **options):
    made = {name: load_head(name) for name in heads}
    paths = sorted(images.glob("*.png"))
    settings = Settings(
        Setup(batch_size=2), "nut", references=[Sample(p, p.stem) for p in paths[:2]]
    )
    samples = [Sample(path, path.stem) for path in paths[2:]]
    return run(backbone, made, samples, settings, out, **options).folder


def same(a: Seen, b: Seen) -> bool:
    return (a.brightness, a.sharpness) == (b.brightness, b.sharpness) and np.array_equal(
        a.embedding, b.embedding
    )


def test_a_run_keeps_how_its_images_look(small_backbone, images, tmp_path):
    scored = []
    paths = sorted(images.glob("*.png"))
    settings = Settings(Setup(), references=[Sample(paths[0], "0")])
    samples = [Sample(path, path.stem) for path in paths[1:]]
    heads = {"memory": load_head("memory")}
    run(small_backbone, heads, samples, settings, tmp_path / "run", on_scored=scored.extend)
    kept = read_seen(RunFolder.open(tmp_path / "run"))
    assert list(kept) == [str(path) for path in paths[1:]]
    assert all(same(kept[str(one.sample.path)], one.seen) for one in scored)


def test_a_resumed_run_keeps_the_same_after_a_torn_line(small_backbone, images, tmp_path):
    whole = read_seen(start(small_backbone, images, tmp_path / "whole"))
    stopped = start(small_backbone, images, tmp_path / "stopped")
    # as if killed while it wrote the third image
    for file, keep in ((stopped.out / FILE, 2), (stopped.scores_csv, 3)):
        lines = file.read_bytes().splitlines(keepends=True)
        torn = lines[keep][:30] if file.name == FILE else b""
        file.write_bytes(b"".join(lines[:keep]) + torn)
    found = read_seen(start(small_backbone, images, stopped.out, resume=True))
    assert found.keys() == whole.keys()
    assert all(same(found[path], whole[path]) for path in whole)


def test_a_run_with_a_joint_head_keeps_each_image_once(small_backbone, images, tmp_path):
    alone = read_seen(start(small_backbone, images, tmp_path / "alone"))
    joint = read_seen(start(small_backbone, images, tmp_path / "joint", ("memory", "musc")))
    assert joint.keys() == alone.keys()
    assert all(same(joint[path], alone[path]) for path in alone)


def test_an_image_that_is_scored_again_has_its_last_look(small_backbone, images, tmp_path):
    folder = start(small_backbone, images, tmp_path / "run")
    path = str(images / "3.png")
    later = Seen(0.5, -4.0, np.array([1, 0], np.float32))
    append_seen(folder.out, [(path, later)])
    assert same(read_seen(folder)[path], later)


def test_names_that_text_cannot_hold_come_back(tmp_path):
    folder = RunFolder(tmp_path / "run", {"memory": (0.0, 1.0)}, {}).create()
    path = 'a\nb\udcff,".png'
    seen = Seen(0.25, -3.5, np.array([0.6, 0.8], np.float16).astype(np.float32))
    append_seen(folder.out, [(path, seen)])
    folder.append([Row(path, {"memory": 0.5})])
    assert same(read_seen(folder)[path], seen)


def test_a_run_without_the_file_has_none(small_backbone, images, tmp_path):
    folder = start(small_backbone, images, tmp_path / "run")
    (folder.out / FILE).unlink()
    assert read_seen(folder) == {}


def test_overwrite_forgets_the_looks_of_the_run_before(small_backbone, images, tmp_path):
    folder = start(small_backbone, images, tmp_path / "run")
    size = (folder.out / FILE).stat().st_size
    start(small_backbone, images, tmp_path / "run", overwrite=True)
    assert (folder.out / FILE).stat().st_size == size


@pytest.mark.parametrize("colour", ["grey", "black"])
@pytest.mark.parametrize("head", ["memory", "statistics"])
def test_blank_images_have_a_finite_sharpness(small_backbone, head, colour):
    images = [Image.new("RGB", (64, 64), colour)] * 3
    assert np.isfinite(looks(small_backbone, images, head)[2].sharpness)

"""What is measured of scores as they come, and which images are left out of what."""

import warnings
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from vlad.errors import ImageError, InputError
from vlad.evaluation.measures import Measures
from vlad.metrics import concordance, evaluate, kendall_tau
from vlad.scoring.pipeline import Scored
from vlad.types import Sample

SIZE = (24, 32)


@pytest.fixture
def mask(tmp_path):
    """Writes a mask with a square of defect of this many pixels a side, and gives its path."""

    def write(name, side, size=SIZE):
        pixels = np.zeros(size, np.uint8)
        pixels[4 : 4 + side, 5 : 5 + side] = 255
        Image.fromarray(pixels).save(tmp_path / f"{name}.png")
        return tmp_path / f"{name}.png"

    return write


def scored(samples, seed=0, heads=("a", "b"), size=SIZE):
    rng = np.random.default_rng(seed)
    return [
        Scored(
            sample,
            size[::-1],
            {head: float(rng.random()) for head in heads},
            {head: rng.random(size).astype(np.float32) for head in heads},
        )
        for sample in samples
    ]


def measured(samples, batch, **options):
    measures = Measures(samples, **options)
    for i in range(0, len(batch), 2):
        measures.add(batch[i : i + 2])
    return measures


def sample(key, label, **rest):
    from pathlib import Path

    return Sample(Path(f"{key}.png"), key, label=label, **rest)


@pytest.mark.parametrize("room", [1 << 30, 0])
def test_the_same_as_all_at_once(mask, room):
    samples = [sample(f"good{i}", 0) for i in range(4)]
    samples += [sample(f"bad{i}", 1, mask=mask(f"bad{i}", 3 + i)) for i in range(4)]
    batch = scored(samples)
    measures = measured(samples, batch, room=room)
    masks = [np.asarray(Image.open(s.mask)) if s.mask else np.zeros(SIZE) for s in samples]
    for head in ("a", "b"):
        expected = evaluate(
            [s.scores[head] for s in batch],
            [s.label for s in samples],
            np.stack([s.maps[head] for s in batch]),
            np.stack(masks),
        )
        found = measures.of(head)
        assert found.metrics == pytest.approx(expected, abs=1e-12)
        assert list(found.metrics) == list(expected)
        assert found.bounds == dict.fromkeys(list(expected)[3:], 0)
        assert (found.images, found.errors) == (8, {})


def test_maps_of_two_sizes_take_the_mask_at_theirs(mask):
    samples = [sample("good", 0), sample("bad", 1, mask=mask("bad", 8))]
    wide = tuple(2 * side for side in SIZE)
    batch = scored(samples, heads=["a"])
    batch = [
        replace(s, scores=s.scores | other.scores, maps=s.maps | other.maps)
        for s, other in zip(batch, scored(samples, 1, ["b"], wide), strict=True)
    ]
    large = np.zeros((2, *wide), bool)
    large[1, 8:24, 10:26] = True
    expected = evaluate([0, 1], [0, 1], np.stack([s.maps["b"] for s in batch]), large)
    found = measured(samples, batch).of("b").metrics
    assert found["aupro"] == pytest.approx(expected["aupro"], abs=1e-12)


def test_without_masks_there_are_no_pixel_metrics():
    samples = [sample("good", 0), sample("bad", 1)]
    found = measured(samples, scored(samples)).of("a")
    assert set(found.metrics) == {"image_auroc", "image_ap", "image_f1_max"}
    assert found.bounds == {}


def test_a_defect_without_pixels_counts_for_the_image_alone(mask):
    samples = [sample("good", 0), sample("bad", 1, mask=mask("bad", 5))]
    lost = [sample("empty", 1, mask=mask("empty", 0)), sample("none", 1)]
    batch = scored([*samples, *lost])
    with pytest.warns(UserWarning, match=r"empty\.png and 1 more: labelled anomalous, but"):
        found = measured([*samples, *lost], batch).of("a")
    labels = [0, 1, 1, 1]
    assert found.metrics["image_ap"] == evaluate([s.scores["a"] for s in batch], labels)["image_ap"]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        without = measured(samples, batch[:2]).of("a")
    assert found.metrics["pixel_ap"] == without.metrics["pixel_ap"]
    assert found.images == 4


def test_a_normal_image_with_defect_pixels_is_refused(mask):
    samples = [sample("bad", 1, mask=mask("bad", 3)), sample("good", 0, mask=mask("good", 1))]
    with pytest.raises(InputError, match=r"good\.png is labelled normal, but its mask .* correct"):
        measured(samples, scored(samples))


def test_images_that_cannot_be_used_are_left_out(mask, tmp_path):
    samples = [sample(f"good{i}", 0) for i in range(3)]
    samples += [sample(f"bad{i}", 1, mask=mask(f"bad{i}", 5)) for i in range(3)]
    samples[5].mask.write_bytes(b"broken")
    batch = scored(samples)
    batch[0] = Scored(samples[0], None, failure=ImageError("cannot read it"))
    measures = measured(samples, batch)
    found = measures.of("a")
    expected = measured(samples[1:5], batch[1:5]).of("a")
    assert found.metrics == expected.metrics
    assert found.images == 4
    assert found.errors["good0.png"] == "cannot read it"
    assert "bad2" in found.errors["bad2.png"]
    # what one head alone fails on, when images are compared later, the others still have
    measures.add([Scored(samples[1], SIZE, failure=ImageError("c gave no number"))])
    measures.add(scored(samples[2:5], heads=["c"]))
    assert measures.of("a") == found
    assert measures.of("c").images == 3
    assert measures.of("c").errors["good1.png"] == "c gave no number"
    with pytest.raises(InputError, match=r"No test image could be used \(cannot read"):
        measures.of("d")


def test_an_object_scores_as_its_most_anomalous_view():
    views = [
        ("p", 0, 0.1),
        ("p", 0, 0.7),
        ("q", 0, 0.2),
        ("q", 1, 0.9),
        ("r", 1, 0.3),
        ("r", 0, 0.4),
    ]
    samples = [sample(f"{i}", label, group=g) for i, (g, label, _) in enumerate(views)]
    batch = [Scored(s, SIZE, {"a": x}) for s, (_, _, x) in zip(samples, views, strict=True)]
    found = measured(samples, batch).of("a").metrics
    objects = evaluate([0.7, 0.9, 0.4], [0, 1, 1])
    assert {n: v for n, v in found.items() if n.startswith("object")} == {
        name.replace("image", "object"): value for name, value in objects.items()
    }
    assert found["object_auroc"] == 0.5 != found["image_auroc"]
    # the view with the defect cannot be read: the object is damaged all the same
    batch[3] = Scored(samples[3], None, failure=ImageError("cannot read it"))
    found = measured(samples, batch).of("a").metrics
    assert found["object_auroc"] == evaluate([0.7, 0.2, 0.4], [0, 1, 1])["image_auroc"] == 0


def test_severities():
    levels = [0, None, 3, 1, 2, None]
    labels = [0, 0, 1, 1, 1, 1]
    samples = [
        sample(f"{i}", label, severity=level)
        for i, (label, level) in enumerate(zip(labels, levels, strict=True))
    ]
    batch = scored(samples)
    found = measured(samples, batch).of("b").metrics
    # a normal image is of level 0; a defect of unknown severity cannot be placed
    scores = [s.scores["b"] for s in batch[:5]]
    assert found["severity_concordance"] == concordance(scores, [0, 0, 3, 1, 2])
    assert found["severity_tau"] == kendall_tau(scores, [0, 0, 3, 1, 2])
    unknown = [sample(f"{i}", label) for i, label in enumerate(labels)]
    assert "severity_tau" not in measured(unknown, scored(unknown)).of("b").metrics


@pytest.mark.parametrize("size, fits", [((48, 64), 1), ((12, 16), 1), ((25, 32), 0), ((32, 24), 0)])
def test_a_mask_has_the_proportions_of_its_image(mask, size, fits):
    samples = [sample("good", 0), sample("bad", 1, mask=mask("bad", 6, size))]
    measures = measured(samples, scored(samples))
    assert len(measures.errors) == 1 - fits
    for why in measures.errors.values():
        assert f"bad.png has {size[1]}×{size[0]} pixels, but its image bad.png has 32×24" in why


def test_a_mask_of_an_odd_side_that_was_halved_fits(mask):
    odd = (25, 33)
    for half in ((12, 16), (13, 17), (12, 17)):
        samples = [sample("bad", 1, mask=mask("bad", 6, half))]
        assert not measured(samples, scored(samples, size=odd)).errors


@pytest.mark.parametrize("blob", [False, True])
def test_defects_too_thin_for_the_maps_are_counted(mask, blob):
    """A scratch and a pinhole vanish, alone or beside a defect that stays."""
    path = mask("bad", 100 if blob else 0, (480, 640))
    pixels = np.array(Image.open(path))
    pixels[300:302, 100:500], pixels[400, 600] = 255, 255
    Image.fromarray(pixels).save(path)
    samples = [sample("good", 0), sample("bad", 1, mask=path)]
    with pytest.warns(UserWarning, match=r"bad\.png: 2 regions are too thin") as said:
        found = measured(samples, scored(samples)).of("a")
    assert not [warning for warning in said if "missing or empty" in str(warning.message)]
    assert np.isfinite(found.metrics["pixel_auroc"]) == blob
    fine = [sample("good", 0), sample("bad", 1, mask=mask("bad", 8))]
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        measured(fine, scored(fine)).of("a")

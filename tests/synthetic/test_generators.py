"""What holds of every generator: where the mask is set the image differs, and nowhere else."""

import numpy as np
import pytest
from scipy import ndimage

from vlad.errors import InputError
from vlad.synthetic import GENERATORS, Sources, load_generators
from vlad.synthetic.canvas import LEVELS, object_cover
from vlad.synthetic.perlin import perlin_noise
from vlad.synthetic.poisson import blend, solve_poisson


@pytest.fixture(params=GENERATORS)
def generator(request):
    return load_generators([request.param])[request.param]


def damaged(generator, image, seed=0, others=()):
    return generator(image, Sources(others), np.random.default_rng(seed))


def test_changes_lie_in_the_mask_and_nowhere_else(generator, shapes, surface):
    for name, image in shapes.items():
        before = image.copy()
        for seed in range(2):
            after, mask, words = damaged(generator, image, seed, [surface(50, 60, 1)])
            changed = np.abs(after.astype(int) - before).max(2)
            assert after.shape == before.shape and after.dtype == np.uint8, name
            assert mask.shape == before.shape[:2] and mask.dtype == bool, name
            assert mask.any(), name
            assert not changed[~mask].any(), name  # the tolerance is none
            assert changed[mask].all(), name
            # enough of it shows, beside the gaps between what shows
            assert (changed > LEVELS).sum() >= max(1, 1e-4 * mask.size), name
            assert words.split()[0] in ("a", "an") and words == words.lower()
        assert np.array_equal(image, before), name


def test_the_same_seed_gives_the_same_bytes(generator, shapes):
    first, again, other = (damaged(generator, shapes["object"], seed) for seed in (3, 3, 4))
    assert np.array_equal(first[0], again[0]) and np.array_equal(first[1], again[1])
    assert not np.array_equal(first[0], other[0])


def test_grey_images_stay_grey(generator, shapes, surface):
    for seed in range(3):
        after, _, _ = damaged(generator, shapes["grey"], seed, [surface(50, 60, 1)])
        assert (after == after[..., :1]).all()


def test_defects_lie_on_the_object(generator, on_ground):
    image, inside = on_ground(128, 128)
    near = ndimage.binary_dilation(inside, iterations=5)  # its outline goes with a broken rim
    for seed in range(4):
        _, mask, _ = damaged(generator, image, seed, [on_ground(100, 120, 1)[0]])
        assert mask[near].sum() == mask.sum()
        assert mask[inside].any()


def test_most_of_an_image_is_left(generator, surface):
    shares = [damaged(generator, surface(128, 128), seed)[1].mean() for seed in range(6)]
    assert np.median(shares) < 0.35


def test_object_is_found_and_a_surface_has_none(on_ground, surface):
    image, inside = on_ground(150, 210)
    found = object_cover(image)
    assert (found & inside).sum() / (found | inside).sum() > 0.9
    assert object_cover(surface(100, 100)) is None
    assert object_cover(np.full((20, 20, 3), 7, np.uint8)) is None


def test_object_of_a_grey_image_is_found(on_ground):
    image, inside = on_ground(120, 120)
    grey = image.mean(2, keepdims=True).astype(np.uint8).repeat(3, 2)
    found = object_cover(grey)
    assert (found & inside).sum() / (found | inside).sum() > 0.9


def test_missing_part_shows_the_background(on_ground):
    image, inside = on_ground(128, 128)
    gone = load_generators(["missing"])["missing"]
    shown = []
    for seed in range(6):
        after, mask, _ = damaged(gone, image, seed)
        ground = np.abs(after.astype(int) - (220, 205, 60)).max(2) < 30
        shown.append((ground & mask & inside).sum() / (mask & inside).sum())
    assert np.median(shown) > 0.5


def test_given_textures_are_laid_on(shapes):
    red = np.zeros((30, 30, 3), np.uint8)
    red[..., 0] = np.arange(30) * 8
    lay = load_generators(["perlin"])["perlin"]
    rng = np.random.default_rng
    own = lay(shapes["flat"], Sources(), rng(1))[0]
    other = lay(shapes["flat"], Sources(textures=[red]), rng(1))[0]
    assert not np.array_equal(own, other)


def test_perlin_noise_is_smooth_and_within_its_range():
    noise = perlin_noise(np.random.default_rng(0), (200, 120), (4, 2))
    assert -1.01 < noise.min() < -0.4 and 0.4 < noise.max() < 1.01
    assert max(np.abs(np.diff(noise, axis=axis)).max() for axis in (0, 1)) < 0.12
    assert abs(noise.mean()) < 0.15


def test_poisson_is_solved_exactly():
    """Against the five-point equations written out and solved as they stand."""
    h, w = 5, 7
    divergence = np.random.default_rng(0).normal(0, 1, (h, w, 2)).astype(np.float32)
    number = np.arange(h * w).reshape(h, w)
    equations = -4.0 * np.eye(h * w)
    for y in range(h):
        for x in range(w):
            for dy, dx in ((0, 1), (0, -1), (1, 0), (-1, 0)):
                if 0 <= y + dy < h and 0 <= x + dx < w:
                    equations[number[y, x], number[y + dy, x + dx]] = 1
    slow = np.linalg.solve(equations, divergence.reshape(h * w, 2)).reshape(h, w, 2)
    np.testing.assert_allclose(solve_poisson(divergence), slow, atol=1e-5)


def test_blend_keeps_the_rim_and_takes_the_gradients(surface):
    target, patch = (surface(20, 30, seed).astype(np.float32) / 255 for seed in (0, 1))
    out = blend(target, patch)
    rim = np.ones((20, 30), bool)
    rim[1:-1, 1:-1] = False
    assert np.array_equal(out[rim], target[rim])

    def laplacian(f):
        return (f[2:, 1:-1] + f[:-2, 1:-1] + f[1:-1, 2:] + f[1:-1, :-2] - 4 * f[1:-1, 1:-1])[1:-1]

    np.testing.assert_allclose(laplacian(out), laplacian(patch), atol=1e-4)
    # a patch that differs by a constant has the target's gradients
    np.testing.assert_allclose(blend(target, target + 0.3), target, atol=1e-5)
    # and none of the patch is taken where the mask is false
    np.testing.assert_allclose(blend(target, patch, np.zeros((20, 30), bool)), target, atol=1e-5)


def test_unknown_and_no_generators():
    with pytest.raises(InputError, match="unknown generator 'dent'; choose from cutpaste,"):
        load_generators(["scratch", "dent"])
    with pytest.raises(InputError, match="no generator given"):
        load_generators([])
    assert list(load_generators(["stain", "stain", "colour"])) == ["stain", "colour"]

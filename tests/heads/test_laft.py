"""LAFT against its authors' functions, and what its map and its limits are."""

import numpy as np
import pytest
import torch

from vlad.errors import HeadError
from vlad.heads import load_head
from vlad.maths.guidance import guidance_basis, guided
from vlad.maths.neighbours import mean_nearest_cosine
from vlad.types import Features, TextFeatures


def features(image, patches=None):
    patches = image[:, None].expand(-1, 4, -1) if patches is None else patches
    return Features(image=image, patches={12: patches}, grid=(2, 2), size=(32, 32))


@pytest.fixture(scope="module")
def case(parity):
    return {name: torch.from_numpy(x) for name, x in parity.case("laft").items()}


@pytest.mark.parametrize("components", [2, 8, 15])
@pytest.mark.parametrize(("use", "name"), [("guide", "inner"), ("ignore", "orthogonal")])
def test_parity(case, components, use, name):
    text = TextFeatures(case["prompts_a"], case["prompts_b"])
    key = f"two.{name}.{components}"
    basis = guidance_basis([text.normal, text.anomalous], components)
    assert_close(guided(case["test"], basis, use == "ignore"), case[f"{key}.test"])
    head = load_head("laft", use=use, components=components).fit(features(case["train"]))
    assert_close(head.score(features(case["test"]), text).image_score, case[f"{key}.score"])
    if f"{key}.score_k5" in case:
        head = load_head("laft", use=use, components=components, neighbours=5)
        found = head.fit(features(case["train"])).score(features(case["test"]), text)
        assert_close(found.image_score, case[f"{key}.score_k5"])


@pytest.mark.parametrize("components", [2, 8])
@pytest.mark.parametrize("name", ["inner", "orthogonal"])
def test_parity_of_one_group(case, components, name):
    key, ignore = f"one.{name}.{components}", name == "orthogonal"
    basis = guidance_basis([case["prompts_a"]], components)
    train, test = (guided(case[part], basis, ignore) for part in ("train", "test"))
    assert_close(test, case[f"{key}.test"])
    assert_close(mean_nearest_cosine(test, train, 30), case[f"{key}.score"])


def test_rank(case):
    groups = [case["prompts_a"], case["prompts_b"]]
    sizes = case["singular_two"]
    assert len(guidance_basis(groups)) == (sizes > 1e-3 * sizes[0]).sum() == 15


def test_a_patch_is_scored_as_the_image_is():
    generator = torch.Generator().manual_seed(0)
    text = TextFeatures(*torch.randn(2, 3, 16, generator=generator))
    normal, images = torch.randn(2, 5, 16, generator=generator)
    head = load_head("laft", neighbours=1).fit(features(normal))
    found = head.score(features(images), text)
    # all patches of an image are its embedding here
    expected = found.image_score[:, None, None].expand(-1, 32, 32)
    torch.testing.assert_close(found.anomaly_map, expected, atol=1e-5, rtol=0)


def test_only_what_the_sentences_differ_in_counts():
    text = TextFeatures(torch.tensor([[1.0, 0, 0, 1]]), torch.tensor([[0.0, 1, 0, 1]]))
    axis, other = torch.tensor([[1.0, -1, 0, 0]]), torch.tensor([[0.0, 0, 3, 0]])
    head = load_head("laft").fit(features(axis))
    same, reverse = head.score(features(torch.cat([axis + other, other - axis])), text).image_score
    assert same < 1e-6 and abs(reverse - 2) < 1e-6
    head = load_head("laft", use="ignore").fit(features(other))
    assert head.score(features(axis + other), text).image_score < 1e-6


@pytest.mark.parametrize("use", ["guide", "ignore"])
def test_sentences_that_leave_nothing_are_refused(use):
    x = torch.eye(3)
    alike, all_of_it = TextFeatures(x[:1], x[:1]), TextFeatures(x, -x)
    head = load_head("laft", use=use).fit(features(x))
    with pytest.raises(HeadError, match="nothing is left to compare"):
        head.score(features(x), alike)
    if use == "ignore":
        with pytest.raises(HeadError, match="span 3 of 3"):
            head.score(features(x), all_of_it)


def assert_close(found, expected):
    np.testing.assert_allclose(found.numpy(), expected.numpy(), atol=1e-4, rtol=0)

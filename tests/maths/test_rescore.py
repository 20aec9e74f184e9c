"""RsCIN: its definition in plain loops, and what must hold on genuine CLIP features."""

import numpy as np
import pytest
import torch
import torch.nn.functional as F

from vlad.maths.rescore import rescore, rescore_against, scale


@pytest.fixture(scope="module")
def images():
    torch.manual_seed(0)
    return torch.rand(12), torch.randn(12, 8)


def slow(scores, images, neighbours):
    scores = (scores - scores.min()) / (scores.max() - scores.min())
    unit = F.normalize(images, dim=-1)
    found = torch.zeros(len(scores))
    for k in neighbours:
        for i, own in enumerate(unit):
            weights = unit @ own
            near = weights.argsort(descending=True)[:k]
            found[i] += (weights[near] * scores[near]).sum() / weights[near].sum() / len(neighbours)
    return found


@pytest.mark.parametrize("neighbours", [(1,), (1, 2, 3), (1, 8, 9), (50,)])
def test_a_plain_version(images, neighbours):
    found = rescore(*images, neighbours)
    torch.testing.assert_close(found, slow(*images, neighbours), atol=1e-5, rtol=0)


def test_a_neighbourhood_of_one_only_scales(images):
    found = rescore(*images, (1,))
    assert (found.min(), found.max()) == (0, 1)
    assert found.argsort().tolist() == images[0].argsort().tolist()


def test_equal_scores_stay_equal(images):
    assert rescore(torch.ones(12), images[1], (1, 2, 3)).tolist() == [0] * 12


def test_an_image_of_the_pool_among_the_pool(images):
    scores, tokens = images
    found = rescore_against(scores[:2], tokens[:2], scores[2:], tokens[2:], (1, 2))
    for i in range(2):
        alone = rescore_against(
            scores[i : i + 1], tokens[i : i + 1], scores[2:], tokens[2:], (1, 2)
        )
        torch.testing.assert_close(found[i : i + 1], alone)


@pytest.mark.parametrize("spread", [0.0, 1e-6, 0.3])
def test_a_pool_whose_images_hardly_differ_divides_by_nothing(images, spread):
    scores, tokens = images
    pool = 0.5 + spread * scores[2:]
    found = rescore_against(torch.tensor([1.5, 0.6]), tokens[:2], pool, tokens[2:], (1, 2))
    assert 1.5 >= found[0] > 1 > found[1] >= 0.5


def test_against_a_pool_the_order_is_that_of_scaled_scores(images):
    scores, tokens = images
    found = rescore_against(scores[:4], tokens[:4], scores[4:], tokens[4:], (1, 2))
    low, span = scores[4:].min(), scores[4:].max() - scores[4:].min()
    scaled = [(x - low) / span for x in (scores[:4], scores[4:])]
    expected = rescore_against(scaled[0], tokens[:4], scaled[1], tokens[4:], (1, 2))
    torch.testing.assert_close((found - low) / span, expected)


def test_the_numbers_of_the_authors(parity):
    case = parity.case("musc_tinyl14_336")
    scores = torch.from_numpy(case["rscin.in_score"]).float()
    images = torch.from_numpy(case["rscin.cls_tokens"])
    found = rescore(scores, images, case["rscin.k_list"].tolist())
    np.testing.assert_allclose(found, case["score"], atol=1e-6)


def test_similar_images_get_similar_scores_on_genuine_features(parity):
    """On real CLIP embeddings, noise in the scores of one category is smoothed, not spread."""
    with np.load(parity.folder / "real" / "mvtec_ad_cls_vitl14_336_518.npz") as arrays:
        images = torch.from_numpy(arrays[arrays.files[0]]).float()
    torch.manual_seed(0)
    noise = torch.rand(len(images))
    found = rescore(noise, images, (1, 2, 3))
    assert found.std() < noise.std()
    assert torch.corrcoef(torch.stack([found, noise]))[0, 1] > 0.8


def test_a_score_without_a_number_does_not_set_the_scale():
    found = scale(torch.tensor([2.0, torch.nan, 4.0, torch.inf, 3.0]))
    assert found[[0, 2, 4]].tolist() == [0.0, 1.0, 0.5]
    assert not found[[1, 3]].isfinite().any()
    assert scale(torch.tensor([torch.nan])).isnan().all()
    assert scale(torch.full((3,), 5.0)).tolist() == [0, 0, 0]

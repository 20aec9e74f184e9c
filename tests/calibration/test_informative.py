"""Which images to review first: near the threshold, and unlike each other."""

import numpy as np
import pytest

from vlad.calibration.informative import informative_order
from vlad.errors import InputError


def plain_order(embeddings, scores, threshold, count, seed):
    """The same in loops."""
    draw = np.random.default_rng(seed)
    away = [abs(score - threshold) for score in scores]
    units = [x / np.sqrt((x**2).sum()) for x in embeddings]
    order = [min(range(len(scores)), key=lambda i: away[i])]
    while len(order) < count:
        chances = []
        for i in range(len(scores)):
            nearest = min(((units[i] - units[j]) ** 2).sum() for j in order)
            weight = np.exp(-away[i] / np.median(away))
            chances.append(0.0 if i in order else weight * nearest)
        order.append(int(draw.choice(len(scores), p=np.array(chances) / sum(chances))))
    return order


@pytest.mark.parametrize("seed", range(5))
def test_against_loops(seed):
    draw = np.random.default_rng(seed + 100)
    embeddings, scores = draw.normal(size=(40, 8)), draw.normal(size=40)
    found = informative_order(embeddings, scores, 0.3, 15, seed)
    assert found.tolist() == plain_order(embeddings, scores, 0.3, 15, seed)


def test_each_group_is_seen_before_a_second_image_of_one():
    draw = np.random.default_rng(0)
    groups = np.repeat(np.arange(5), 20)
    embeddings = 100 * np.eye(5)[groups] + draw.normal(size=(100, 5))
    for seed in range(10):
        first = informative_order(embeddings, draw.normal(size=100), 0.0, 5, seed)
        assert sorted(groups[first]) == [0, 1, 2, 3, 4]


def test_images_near_the_threshold_come_first():
    draw = np.random.default_rng(0)
    embeddings, scores = draw.normal(size=(400, 8)), draw.uniform(0, 2, 400)
    away = [
        np.abs(scores[informative_order(embeddings, scores, 1.5, 20, s)] - 1.5) for s in range(9)
    ]
    assert np.mean(away) < 0.6 * np.abs(scores - 1.5).mean()
    assert all(x[0] == np.abs(scores - 1.5).min() for x in away)


def test_every_image_comes_once_also_copies():
    embeddings = np.ones((7, 3))
    found = informative_order(embeddings, np.arange(7.0), 4.2, 100)
    assert found.tolist() == [4, 5, 3, 6, 2, 1, 0]


def test_an_order_depends_on_its_seed_alone():
    draw = np.random.default_rng(0)
    embeddings, scores = draw.normal(size=(40, 8)), draw.normal(size=40)
    one, again, other = (informative_order(embeddings, scores, 0, 20, s) for s in (1, 1, 2))
    assert (one == again).all() and (one != other).any()
    # nor on the scale of scores
    assert (informative_order(embeddings, 1000 * scores, 0, 20, 1) == one).all()


def test_what_it_refuses():
    with pytest.raises(InputError, match="2 embeddings for 1 score; give one of each image"):
        informative_order(np.ones((2, 3)), np.ones(1), 0, 1)
    with pytest.raises(InputError, match="has NaN or infinity"):
        informative_order(np.ones((1, 3)), np.array([np.nan]), 0, 1)
    with pytest.raises(InputError, match="count"):
        informative_order(np.ones((1, 3)), np.ones(1), 0, 0)
    assert len(informative_order(np.ones((0, 3)), np.ones(0), 0, 1)) == 0

"""HFTT against its authors' scores, and what its map is."""

import numpy as np
import pytest
import torch

from vlad.adapters import Adapter
from vlad.heads.hftt import HFTT
from vlad.types import BackboneInfo, Features

INFO = BackboneInfo("seeded", 12, 64, 64, 16, 32, True)


def made(task, learned):
    params = {"layers": [12], "vectors": len(learned), "tasks": len(task)}
    tensors = {"task": task, "learned": learned}
    head = HFTT(Adapter("seeded", "hftt", "seeded", "none", params, tensors))
    head.spec(INFO)
    return head


def score(head, image, patches=None):
    patches = image[:, None].expand(-1, 4, -1) if patches is None else patches
    return head.score(Features(image=image, patches={12: patches}, grid=(2, 2), size=(32, 32)))


def test_parity(parity):
    case = {name: torch.from_numpy(x) for name, x in parity.case("hftt").items()}
    head = made(case["task_classes"].T, case["trainable_final"].T)
    found = score(head, 3 * case["test"]).image_score
    np.testing.assert_allclose(found, case["score"], atol=1e-4, rtol=0)


def test_a_patch_is_scored_as_the_image_is():
    generator = torch.Generator().manual_seed(0)
    task, learned, images = (torch.randn(n, 64, generator=generator) for n in (2, 3, 5))
    found = score(made(torch.nn.functional.normalize(task, dim=-1), 5 * learned), images)
    # all patches of an image are its embedding here
    expected = found.image_score[:, None, None].expand(-1, 32, 32)
    torch.testing.assert_close(found.anomaly_map, expected, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seen", [0, 1])
def test_near_a_category_is_normal(seen):
    axes = torch.eye(64)
    found = score(made(axes[:2], axes[2:4]), axes[[seen, 3]]).image_score
    assert found[0] < 1e-6 and found[1] > 1 - 1e-6

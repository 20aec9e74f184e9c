"""The vector of a side is the mean of the largest cluster of its sentences."""

import pytest
import torch
import torch.nn.functional as F

from vlad.maths.representative import dense_sides
from vlad.types import TextFeatures


def clusters(unit, eps, min_samples):
    """DBSCAN as it is defined: sets of rows that cores within `eps` of each other reach."""
    near = torch.cdist(unit, unit) <= eps
    core = near.sum(dim=1) >= min_samples
    found, seen = [], set()
    for start in core.nonzero().flatten().tolist():
        if start in seen:
            continue
        members, waiting = set(), [start]
        while waiting:
            row = waiting.pop()
            if row in members:
                continue
            members.add(row)
            if core[row]:
                waiting += near[row].nonzero().flatten().tolist()
        seen |= members
        found.append(sorted(members))
    return found


@pytest.mark.parametrize("seed", range(4))
def test_against_clusters_by_definition(seed):
    generator = torch.Generator().manual_seed(seed)
    centres = torch.randn(3, 16, generator=generator)
    counts = torch.tensor([7, 12, 5])
    rows = centres.repeat_interleave(counts, dim=0)
    rows = (rows + 0.3 * torch.randn(24, 16, generator=generator)) * 5
    text = TextFeatures(rows, rows.flip(0)[:20])
    for found, side in zip(dense_sides(text, 0.6, 4), (text.normal, text.anomalous), strict=True):
        unit = F.normalize(side, dim=-1)
        largest = max(clusters(unit, 0.6, 4), key=len)
        assert 4 <= len(largest) < len(side)
        expected = F.normalize(unit[largest].mean(dim=0), dim=0)
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=0)
        assert (found - expected).abs().max() > 0
        assert torch.equal(found, found.half().float())  # rounded, as in CLIP-AD's code

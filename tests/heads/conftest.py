"""Adapters with the learned tensors of the reference outputs, and how far heads are from these."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from vlad.scoring.panel import Panel

DEVIATIONS: list[tuple[str, float, float]] = []


def pytest_terminal_summary(terminalreporter):
    """One line for each comparison with an authors' program."""
    if DEVIATIONS:
        terminalreporter.section("largest deviations from the authors' programs")
    for name, of_map, of_score in DEVIATIONS:
        terminalreporter.line(f"{name:40} map {of_map:.1e}  score {of_score:.1e}")


@pytest.fixture(scope="session")
def parity_adapter(tmp_path_factory):
    """(head, layers, name in the case -> ours, case) -> folder of an adapter."""
    from vlad.adapters import Adapter, save_adapter
    from vlad.adapters.layouts import LAYOUTS

    def make(head: str, layers, rename, case) -> str:
        tensors = {rename(name): torch.from_numpy(x) for name, x in case.items() if rename(name)}
        folder = tmp_path_factory.mktemp(head)
        params = {"layers": list(layers), **LAYOUTS[head].defaults}
        made = Adapter(
            name=head,
            head=head,
            backbone="seeded",
            auxiliary="none",
            params=params,
            tensors=tensors,
        )
        save_adapter(made, folder)
        return str(folder)

    return make


@pytest.fixture(scope="session")
def parity_scores(parity_image):
    """Scores of all images of a case, in its order, by one head for each category."""

    def run(backbone, make_head, case, batch_size=4, image_size=238):
        maps, scores, done = [], [], []
        paths = [str(path) for path in case["image_path"]]
        for category in dict.fromkeys(path.split("/")[0] for path in paths):
            panel = Panel(backbone, {"head": make_head()}, image_size=image_size)
            if "ref_path" in case:
                references = [str(r) for r in case["ref_path"] if str(r).startswith(category)]
                panel.fit(parity_image(path) for path in references)
            own = [path for path in paths if path.startswith(category)]
            pools, parts = {}, []
            for start in range(0, len(own), batch_size):
                batch = own[start : start + batch_size]
                prepared = [panel.prepare(parity_image(path)) for path in batch]
                parts += panel.score(prepared, category, pools).values()
            for pool in pools.values():
                parts += pool.scores()
            maps += [part.anomaly_map for part in parts]
            scores += [part.image_score for part in parts]
            done += own
        assert done == paths
        return torch.cat(scores).numpy(), torch.cat(maps).numpy()

    return run


@pytest.fixture
def assert_parity(request):
    """Scores and maps as the authors' program has them, to 1e-4 absolute."""

    def check(found, case):
        scores, maps = found
        expected = case["anomaly_map"].reshape(maps.shape)
        setting = request.node.name.partition("[")[2].rstrip("]")
        name = f"{request.path.stem.removeprefix('test_')} {setting}"
        of_map, of_score = np.abs(maps - expected).max(), np.abs(scores - case["score"]).max()
        DEVIATIONS.append((name, of_map, of_score))
        np.testing.assert_allclose(maps, expected, atol=1e-4, rtol=0)
        np.testing.assert_allclose(scores, case["score"], atol=1e-4, rtol=0)

    return check


@pytest.fixture
def patch_distances(monkeypatch):
    """(head memory, features) -> (B, h, w) distances of its patches."""
    from vlad.heads import memory

    monkeypatch.setattr(memory, "upsample", lambda grid_map, size, sigma: grid_map)
    return lambda head, features: head.score(features).anomaly_map

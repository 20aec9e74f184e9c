"""Batches launched ahead on a GPU, and images read ahead by as many threads as suit the device.

There need be no GPU: the panel computes on the CPU, and says that it is on one.
"""

from __future__ import annotations

import weakref
from copy import copy
from threading import Barrier
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.utils._python_dispatch import TorchDispatchMode

from vlad.errors import HeadError, ImageError
from vlad.heads import load_head
from vlad.images.tiles import WHOLE, Tiling
from vlad.scoring import pipeline
from vlad.scoring.ahead import readers
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_items
from vlad.scoring.transfer import download
from vlad.types import Sample, Scores

IN_STEP = ["launch 0", "fetch 0", "launch 1", "fetch 1", "launch 2", "fetch 2"]
AHEAD = ["launch 0", "launch 1", "fetch 0", "launch 2", "fetch 1", "fetch 2"]


@pytest.fixture
def panel(small_backbone, drawn):
    """(device, tiling) -> a fitted panel whose backbone says that it is on that device."""

    def make(device, tiling=WHOLE):
        made = Panel(small_backbone, {"memory": load_head("memory")}, tiling=tiling).fit(drawn[:2])
        made = copy(made)
        made.backbone = SimpleNamespace(device=torch.device(device))
        return made

    return make


@pytest.fixture
def order(monkeypatch):
    """The order in which batches are launched and fetched."""
    found = []

    def recorded(*args):
        number = sum(step.startswith("launch") for step in found)
        arrays = download(*args)
        found.append(f"launch {number}")

        def fetch():
            found.append(f"fetch {number}")
            return arrays()

        return fetch

    monkeypatch.setattr(pipeline, "download", recorded)
    return found


def scored(panel, images, batch_size=2, items=None):
    """The results one by one; None in `images` is one that cannot be opened."""

    def open_item(sample):
        image = images[int(sample.id)]
        if image is None:
            raise ImageError(f"{sample.id} is broken")
        return image

    items = items or (Sample(str(i), str(i), None) for i in range(len(images)))
    for batch in score_items(panel, items, batch_size=batch_size, open_item=open_item):
        yield from batch


@pytest.mark.parametrize(("device", "expected"), [("cpu", IN_STEP), ("cuda", AHEAD)])
def test_a_gpu_has_the_next_batch_before_the_host_waits(panel, drawn, order, device, expected):
    assert len(list(scored(panel(device), drawn))) == 6
    assert order == expected


@pytest.mark.parametrize("tiling", [WHOLE, Tiling(48, 0.25)])
def test_launching_ahead_changes_no_result(panel, drawn, tiling):
    images = [*drawn[:3], None, *drawn[3:]]
    in_step, behind = (list(scored(panel(x, tiling), images)) for x in ("cpu", "cuda"))
    assert [one.sample.id for one in behind] == list("0123456")
    assert [one.error for one in behind] == [one.error for one in in_step]
    assert behind[3].error == "3 is broken"
    for one, other in zip(in_step, behind, strict=True):
        assert one.scores == other.scores and one.size == other.size
        for head, found in one.maps.items():
            np.testing.assert_array_equal(found, other.maps[head])
        if one.seen:
            np.testing.assert_array_equal(one.seen.embedding, other.seen.embedding)


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_was_launched_before_an_error_comes_first(panel, drawn, order, device):
    made, found = panel(device), []

    def fails(*args):
        if sum(step.startswith("launch") for step in order) == 2:
            raise HeadError("it cannot score")
        return Panel.score(made, *args)

    made.score = fails
    with pytest.raises(HeadError, match="it cannot score"):
        for one in scored(made, drawn):
            found.append(one.sample.id)
    assert found == list("0123")


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_what_was_launched_before_an_interrupt_comes_first(panel, drawn, device):
    def items():
        yield from (Sample(str(i), str(i), None) for i in range(6))
        raise KeyboardInterrupt

    found = []
    with pytest.raises(KeyboardInterrupt):
        for one in scored(panel(device), drawn, items=items()):
            found.append(one.sample.id)
    assert found == list("01")  # the others were still being read


@pytest.mark.parametrize(("cores", "threads"), [(1, 2), (4, 3), (16, 8), (192, 8)])
def test_a_gpu_has_more_threads_for_reading(monkeypatch, cores, threads):
    monkeypatch.setattr("vlad.scoring.ahead.cores", lambda: cores)
    assert readers("cpu") == 2
    assert readers(torch.device("cuda", 1)) == threads


def test_as_many_images_are_read_at_once(panel, drawn, monkeypatch):
    monkeypatch.setattr("vlad.scoring.ahead.cores", lambda: 5)
    together = Barrier(4, timeout=60)

    def open_item(sample):
        together.wait()
        return drawn[0]

    items = [Sample(str(i), str(i), None) for i in range(8)]
    found = score_items(panel("cuda"), items, batch_size=2, open_item=open_item)
    assert sum(map(len, found)) == 8


class Copied(TorchDispatchMode):
    """Records copies to the host, and whether the host waits for them."""

    def __init__(self, seen):
        super().__init__()
        self.seen = seen

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        if func is torch.ops.aten._to_copy.default and found.device.type == "cpu":
            self.seen.append("copied" if kwargs.get("non_blocking") else "copied and waited")
        return found


def test_scores_of_a_gpu_come_in_one_copy_that_nothing_waits_for(monkeypatch):
    seen = []
    event = SimpleNamespace(
        record=lambda stream: seen.append(f"mark on {stream}"),
        synchronize=lambda: seen.append("wait"),
    )
    monkeypatch.setattr(torch.cuda, "Event", lambda **_: event)
    monkeypatch.setattr(torch.cuda, "current_stream", lambda device: f"stream of {device}")
    with FakeTensorMode(), Copied(seen):
        maps = [torch.empty(3, 4, 4, device="cuda:1") for _ in range(2)]
        heads = {str(i): Scores(x.amax(dim=(1, 2)), x) for i, x in enumerate(maps)}
        arrays = download(heads, torch.empty(3, 7, device="cuda:1"))
        assert seen == ["copied", "mark on stream of cuda:1"]
        held = [weakref.ref(x) for x in maps]
        del maps, heads
        assert not any(one() is not None for one in held)
        with pytest.raises(RuntimeError):  # they have no numbers
            arrays()
    assert seen == ["copied", "mark on stream of cuda:1", "wait"]

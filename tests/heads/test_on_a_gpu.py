"""Scoring on a GPU: nothing stays on the host, and the host reads nothing while a batch runs.

There need be no GPU: torch's fake tensors have a device and no numbers, so whatever reads one, or
mixes devices, fails.
"""

import copy
from contextlib import contextmanager
from inspect import signature

import numpy as np
import pytest
import torch
from torch._subclasses.fake_tensor import FakeTensorMode
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from vlad.heads import head_maker, head_names, load_head
from vlad.scoring.panel import Panel
from vlad.scoring.transfer import _in_one_copy, download, upload
from vlad.types import Scores

QUICK = {
    "inp_former": {"steps": 1},
    "onenip": {"steps": 1},
    "dfr": {"epochs": 1},
    "simplenet": {"epochs": 1},
}
# heads whose host reads a batch, and why
READ = {
    "adaclip": "scikit-learn clusters the patches of each image",
    "anomalydino": "a warning says when no object is found",
    "musc": "tokens of all images are kept on the host, where there is room for any number",
    "clip_ad": "scikit-learn clusters the sentences, once for a text",
    "vlm": "the model is asked about pixels",
}


class OnGPU(TorchFunctionMode):
    """Copies of tensors are on the GPU."""

    def __torch_function__(self, func, types, args=(), kwargs=None):
        if func is torch.Tensor.__deepcopy__:
            x, memo = args
            return memo.setdefault(id(x), x.detach().to("cuda"))
        if func is torch.Tensor.clone:  # of a parameter
            return args[0].detach().to("cuda")
        return func(*args, **(kwargs or {}))


class Copies(TorchDispatchMode):
    """Counts the copies between devices for which the host waits."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        found = func(*args, **(kwargs or {}))
        given = {x.device.type for x in tree_leaves((args, kwargs)) if isinstance(x, torch.Tensor)}
        made = {x.device.type for x in tree_leaves(found) if isinstance(x, torch.Tensor)}
        waits = not (kwargs or {}).get("non_blocking") or "cpu" in made
        if waits and len(given | made) > 1 and given:
            self.seen.append(f"{func} {given} {made}")
        return found


@pytest.fixture
def on_gpu(monkeypatch):
    """() -> context in which (...) -> the same on a GPU without numbers, with 8 GiB free."""
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda *_: (1 << 33, 1 << 33))
    monkeypatch.setattr(
        "vlad.scoring.extractor.upload",
        lambda each, device: torch.from_numpy(np.stack(each)).to(device, non_blocking=True),
    )

    @contextmanager
    def enter():
        def move(*x):
            with OnGPU():
                return copy.deepcopy(x)

        with FakeTensorMode(allow_non_fake_inputs=True), torch.no_grad():
            yield move

    return enter


def made(name, small_adapter, small_vlm, shown):
    """A head as it comes, with an adapter or a model if it needs one."""
    maker = head_maker(name)
    if name == "vlm":
        return load_head(name, model=small_vlm)
    if "adapter" in signature(maker).parameters and not (shown and maker().normals == "needed"):
        return load_head(name, adapter=small_adapter(name))
    if getattr(maker(), "needs_adapter", False):
        return load_head(name, adapter=small_adapter(name))
    return load_head(name, **QUICK.get(name, {}))


@pytest.mark.parametrize("name", head_names())
def test_no_head_makes_the_host_wait(name, small_backbone, small_adapter, small_vlm, drawn, on_gpu):
    shown = head_maker(name)().normals == "needed"
    head = made(name, small_adapter, small_vlm, shown)
    panel = Panel(small_backbone, {name: head})
    if shown:
        panel.fit(drawn[:2])
    prepared = [panel.prepare(image) for image in drawn[2:3]]
    # once for what a head prepares for all batches
    panel.score(prepared, "nut", {})
    known, text = panel.inputs(name, prepared[0], "nut")
    copies = Copies()
    with on_gpu() as move:
        panel, features, text = move(panel, known, text)
        head, spec = panel.heads[name], panel.specs[name]
        with copies:
            if not spec.pyramid:  # that of these tests is on no device
                (features,) = panel.extractor.extract(prepared, [spec])
            run = head.pool().add if head.transductive else head.score
            if name in READ:
                with pytest.raises(RuntimeError):
                    run(features, text)
                return
            found = run(features, text)
    assert not copies.seen
    assert found.image_score.device.type == found.anomaly_map.device.type == "cuda"


def test_scores_and_embeddings_come_back_as_they_were():
    torch.manual_seed(0)
    first = Scores(torch.randn(3), torch.randn(3, 5, 4), kind=torch.tensor([0, -1, 2]))
    second = Scores(torch.randn(3).double(), np.ones((3, 2, 2)), errors=("", "no", ""))
    found, further = download({"a": first, "b": second}, torch.randn(3, 7).half())()
    for own, theirs in ((first, found["a"]), (second, found["b"])):
        for part in ("image_score", "anomaly_map"):
            np.testing.assert_array_equal(getattr(theirs, part), getattr(own, part))
    assert found["a"].kind.tolist() == [0, -1, 2] and found["b"].errors == ("", "no", "")
    assert further.shape == (3, 7)
    assert download({"a": first})()[1] is None


def test_one_copy_keeps_numbers_types_and_shapes():
    torch.manual_seed(0)
    given = [
        torch.tensor([True, False, True]),  # what follows starts at no multiple of its size
        torch.randn(3).double(),
        torch.randn(4, 3, 5).transpose(0, 1),
        torch.empty(3, 0),
        torch.tensor([0, -1, 2]),
    ]
    found = _in_one_copy(given, torch.device("cpu"))()
    for x, copied in zip(given, found, strict=True):
        assert copied.dtype == x.numpy().dtype and copied.flags.writeable
        np.testing.assert_array_equal(copied, x)


def test_upload_takes_views_of_arrays(recwarn):
    each = [np.arange(6, dtype=np.float32).reshape(2, 3)[::-1, ::-1] for _ in range(2)]
    each[0].flags.writeable = False
    found = upload(each, torch.device("cpu"))
    np.testing.assert_array_equal(found, np.stack(each))
    assert not recwarn and found.is_contiguous()

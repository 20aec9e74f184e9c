"""What the caller has set in torch changes neither scores nor what is cached."""

import contextlib
import threading

import numpy as np
import pytest
import torch

import vlad
from vlad.heads import HEADS, head_maker, vlm_question
from vlad.heads.head import Trained
from vlad.scoring import textcache
from vlad.system.torch_state import own_state


@contextlib.contextmanager
def default_dtype(dtype):
    torch.set_default_dtype(dtype)
    try:
        yield
    finally:
        torch.set_default_dtype(torch.float32)


@contextlib.contextmanager
def default_device(device):
    torch.set_default_device(device)
    try:
        yield
    finally:
        torch.set_default_device(None)


@contextlib.contextmanager
def imprecise_products():
    torch.set_float32_matmul_precision("medium")
    try:
        yield
    finally:
        torch.set_float32_matmul_precision("highest")


STATES = {
    "bfloat16 autocast": lambda: torch.autocast("cpu", dtype=torch.bfloat16),
    "float16 autocast": lambda: torch.autocast("cpu", dtype=torch.float16),
    "float64 by default": lambda: default_dtype(torch.float64),
    "float16 by default": lambda: default_dtype(torch.float16),
    "another default device": lambda: default_device("meta"),
    "inference mode": torch.inference_mode,
    "imprecise products": imprecise_products,
}


@pytest.fixture
def fresh_cache(monkeypatch, tmp_path):
    def empty(name):
        monkeypatch.setenv("VLAD_CACHE", str(tmp_path / name))
        monkeypatch.setattr(textcache, "_memory", {})

    empty("first")
    return empty


def scored(head, file, adapter, images):
    """Scores and maps of a detector that does everything here, from loading on."""
    vlm_question.loaded.cache_clear()
    name = "model" if head == "vlm" else "adapter"
    params = {**QUICK.get(head, {}), **({name: adapter} if adapter else {})}
    detector = vlad.load(head, backbone=str(file), device="cpu", category="nut", **params)
    if head_maker(head)().normals == "needed":
        detector.fit(images[:2])
    found = detector.score(images)
    return np.asarray(found.image_score), np.asarray(found.anomaly_map)


# fewer steps than the default, which takes minutes in all
QUICK = {"inp_former": {"steps": 2}, "onenip": {"steps": 2}}


@pytest.mark.parametrize("state", STATES)
# metauas needs a convolutional backbone
@pytest.mark.parametrize("head", [name for name in HEADS if name != "metauas"])
def test_the_callers_state_changes_no_score(
    head, state, small_file, small_adapter, small_vlm, drawn, fresh_cache
):
    made = head_maker(head)()
    learned = isinstance(made, Trained) or getattr(made, "needs_adapter", False)
    adapter = small_adapter(head) if learned else None
    if head == "vlm":
        adapter = small_vlm
    expected = scored(head, small_file, adapter, drawn)
    fresh_cache("second")
    with STATES[state]():
        found = scored(head, small_file, adapter, drawn)
    for mine, theirs in zip(found, expected, strict=True):
        assert mine.dtype == theirs.dtype
        np.testing.assert_allclose(mine, theirs, atol=1e-6)


@pytest.mark.parametrize("state", STATES)
def test_what_is_cached_under_a_callers_state_is_what_is_cached_without(
    state, small_file, drawn, fresh_cache
):
    expected = scored("winclip", small_file, None, drawn[:1])
    fresh_cache("second")
    with STATES[state]():
        scored("winclip", small_file, None, drawn[:1])
    textcache._memory.clear()  # what is left is on disk
    for mine, theirs in zip(scored("winclip", small_file, None, drawn[:1]), expected, strict=True):
        assert np.array_equal(mine, theirs)


def test_between_the_steps_of_a_stream_the_state_is_the_callers(small_file, drawn):
    detector = vlad.load("musc", backbone=str(small_file), device="cpu")
    with torch.autocast("cpu", dtype=torch.bfloat16), default_dtype(torch.float64):
        for _ in detector.stream(drawn):
            assert torch.is_autocast_enabled("cpu")
            assert torch.get_default_dtype() == torch.float64


def test_convolutions_are_not_rounded():
    before = torch.backends.cudnn.allow_tf32
    with own_state():
        assert not torch.backends.cudnn.allow_tf32
    assert torch.backends.cudnn.allow_tf32 == before


BACKENDS = torch.backends


@pytest.fixture
def precisions():
    """() -> what torch's newer names say of every kind of operation; all are torch's own after."""
    if not hasattr(BACKENDS.cudnn, "conv"):
        pytest.skip("torch before 2.9 has the older names alone")
    cudnn, mkldnn = BACKENDS.cudnn, BACKENDS.mkldnn
    operations = [BACKENDS.cuda.matmul, mkldnn.matmul, mkldnn.conv]
    operations += [BACKENDS, cudnn, mkldnn, cudnn.rnn, cudnn.conv]
    yield lambda: [x.fp32_precision for x in operations]
    torch.set_float32_matmul_precision("highest")
    BACKENDS.cudnn.allow_tf32 = True
    for place, operation in enumerate(operations):
        operation.fp32_precision = "none" if place < len(operations) - 2 else "tf32"


@pytest.mark.parametrize(
    ("of", "value", "precision"),
    [
        (lambda: BACKENDS.cudnn.conv, "ieee", None),
        (lambda: BACKENDS.cudnn, "tf32", None),
        (lambda: BACKENDS, "ieee", None),
        (lambda: BACKENDS, "bf16", None),
        (lambda: BACKENDS, "tf32", "high"),
        (lambda: BACKENDS.cuda.matmul, "tf32", None),
        (lambda: BACKENDS.mkldnn.conv, "bf16", None),
    ],
)
def test_precisions_set_by_torchs_newer_names(precisions, of, value, precision):
    of().fp32_precision = value
    if precision:
        torch.set_float32_matmul_precision(precision)
    before = precisions()
    with own_state():
        inside = precisions()
    assert {*inside[:3], inside[-1]} <= {"ieee", "none"}
    assert precisions() == before


def test_precisions_follow_that_of_all_operations_as_before(precisions):
    BACKENDS.fp32_precision = "tf32"
    with own_state():
        pass
    BACKENDS.fp32_precision = "ieee"
    assert BACKENDS.cuda.matmul.fp32_precision == BACKENDS.mkldnn.conv.fp32_precision == "ieee"


def test_two_threads_leave_the_callers_state():
    entered, leave = threading.Event(), threading.Event()

    def first():
        with own_state():
            entered.set()
            leave.wait(30)

    with default_dtype(torch.float64):
        thread = threading.Thread(target=first)
        thread.start()
        assert entered.wait(30)
        with own_state():
            leave.set()
            thread.join()  # the first has left, and the second computes on
            assert torch.get_default_dtype() == torch.float32
        assert torch.get_default_dtype() == torch.float64


def test_gradients_are_as_the_caller_wants_them():
    with torch.inference_mode(), own_state():
        assert not torch.is_grad_enabled()
        assert not torch.is_inference_mode_enabled()
    with torch.no_grad(), own_state():
        assert not torch.is_grad_enabled()
    with own_state():
        assert torch.is_grad_enabled()

"""The state of torch in which vlad computes, whatever the caller has set."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from threading import Lock
from typing import Any, TypeVar

import torch

T = TypeVar("T")

_changing = Lock()
_users = 0  # threads inside `own_state`
_before: tuple[torch.dtype, tuple] = (torch.float32, ("highest", False))


@contextmanager
def own_state() -> Iterator[None]:
    """float32 as it is: no autocast, no inference mode, the default dtype, device and precision.

    Grad mode stays as it is. It also decorates functions; generators take `step_by_step`.
    """
    with ExitStack() as stack:
        for kind in ("cpu", "cuda", "mps"):
            if torch.is_autocast_enabled(kind):
                stack.enter_context(torch.autocast(kind, enabled=False))
        if torch.is_inference_mode_enabled():
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.no_grad())  # which leaving it would have ended
        if torch.get_default_device().type != "cpu":
            stack.enter_context(torch.device("cpu"))
        stack.enter_context(_own_globals())
        yield


@contextmanager
def _own_globals() -> Iterator[None]:
    """Those that all threads share: the first one sets them, and the last one puts them back."""
    global _users, _before
    with _changing:
        if not _users:
            _before = torch.get_default_dtype(), _rounding()
            newer = len(_before[1]) > 2
            _set(torch.float32, ("ieee",) * 4 if newer else ("highest", False))
        _users += 1
    try:
        yield
    finally:
        with _changing:
            _users -= 1
            if not _users:
                _set(*_before)


def _rounding() -> tuple:
    """How products and convolutions round float32: two values, or four by torch's newer names."""
    # what is set for all operations of a kind would outlive a change by the older names
    kinds = torch.backends.cudnn, getattr(torch.backends.mkldnn, "conv", None)
    if all(getattr(kind, "fp32_precision", "none") == "none" for kind in kinds):
        try:
            return torch.get_float32_matmul_precision(), torch.backends.cudnn.allow_tf32
        except RuntimeError:  # the newer ones are set, and do not fit the older
            pass
    return tuple(operation.fp32_precision for operation in _operations())


def _operations() -> tuple:
    cudnn: Any = torch.backends.cudnn
    mkldnn: Any = torch.backends.mkldnn
    return torch.backends.cuda.matmul, cudnn.conv, mkldnn.matmul, mkldnn.conv


def _set(dtype: torch.dtype, rounding: tuple) -> None:
    torch.set_default_dtype(dtype)
    if len(rounding) > 2:
        for operation, value in zip(_operations(), rounding, strict=True):
            operation.fp32_precision = "none"  # it follows the setting for all operations
            if operation.fp32_precision != value:
                operation.fp32_precision = value
        return
    precision, tf32 = rounding
    if tf32 != torch.backends.cudnn.allow_tf32:  # of convolutions, which torch rounds by default
        torch.backends.cudnn.allow_tf32 = tf32
    if precision != torch.get_float32_matmul_precision():
        torch.set_float32_matmul_precision(precision)


def step_by_step(steps: Iterator[T]) -> Iterator[T]:
    """What an iterator gives, each step made in `own_state`; the caller's comes back in between."""
    while True:
        with own_state():
            try:
                step = next(steps)
            except StopIteration:
                return
        yield step

"""Extraction, heads and whole files on a device, beside what it can do at most."""

from __future__ import annotations

import warnings
from functools import partial

import torch
from floors import bare
from gpu_setup import Rows, Setup, photos
from torch.utils.flop_counter import FlopCounterMode

from vlad.datasets import list_samples
from vlad.demo import HAZELNUT
from vlad.heads import load_head
from vlad.images import read_image
from vlad.scoring.ahead import readers
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples

DTYPES = ("float32", "bfloat16")
TIMED = ("winclip", "memory", "april_gan", "anomalyclip", "self_reference", "padim")


def product(setup: Setup, dtype: str) -> float:
    """Operations a second of one large matrix product."""
    side = 8192 if setup.on_gpu else 512
    a, b = torch.randn(2, side, side, device=setup.device).to(getattr(torch, dtype))
    return 2 * side**3 / setup.seconds(lambda: a @ b)


def device(setup: Setup) -> Rows:
    """What the device can do: products, copies inside it, and copies to it."""
    for dtype in DTYPES:
        yield f"device: product, {dtype}", product(setup, dtype) / 1e12, "TFLOP/s", ""
    size = 1 << (30 if setup.on_gpu else 24)
    x = torch.empty(size, dtype=torch.uint8, device=setup.device)
    y = torch.empty_like(x)
    # several, beside which the wait for the last one is short
    spent = setup.seconds(lambda: [y.copy_(x) for _ in range(8)]) / 8
    yield "device: copy inside", 2 * size / spent / 1e9, "GB/s", ""
    for name, pinned in {"pinned": True, "pageable": False}.items() if setup.on_gpu else ():
        host = torch.empty(size, dtype=torch.uint8, pin_memory=pinned)
        host.fill_(1)  # or the kernel has one page for all of it
        seconds = setup.seconds(lambda host=host: x.copy_(host, non_blocking=True))
        yield f"device: copy from the host, {name}", size / seconds / 1e9, "GB/s", ""


@torch.no_grad()
def extraction(setup: Setup) -> Rows:
    """The bare backbone, and pixels on the host to features."""
    images = photos("test", setup.batch)
    for dtype in DTYPES:
        backbone = setup.placed(setup.backbone, getattr(torch, dtype))
        most = product(setup, dtype)
        setup.forget_peak()
        # a head that needs the last block, as the bare backbone computes it
        panel = Panel(backbone, {"memory": load_head("memory", layers=[1.0])})
        prepared = [panel.prepare(image) for image in images]
        specs = list(panel.specs.values())
        inputs = torch.stack([torch.from_numpy(next(iter(x.values()))) for x in prepared])
        pixels = inputs.to(setup.device)
        plain = bare(backbone, pixels, "gelu")
        with FlopCounterMode(display=False) as counter:
            plain()
        alone = setup.seconds(plain)
        share = counter.get_total_flops() / alone / most
        rate, name = setup.batch / alone, f"extraction, {dtype}"
        yield f"{name}: bare backbone", rate, "images/s", f"{share:.2f} of the product"
        spent = setup.seconds(partial(panel.extractor.extract, prepared, specs))
        beside = f"{alone / spent:.2f} of the bare backbone"
        yield f"{name}: from the host to features", setup.batch / spent, "images/s", beside
        del plain, prepared, panel, backbone
        yield setup.peak(name)


@torch.no_grad()
def heads(setup: Setup) -> Rows:
    """Complete scores beside the passes that they need, and how often the host waits in a batch."""
    images, normals = photos("test", setup.batch), photos("train", 4)
    for dtype in DTYPES:
        backbone = setup.placed(setup.backbone, getattr(torch, dtype))
        for name in (name for name in TIMED if name in setup.heads):
            head = setup.head(name, setup.backbone)
            panel = Panel(backbone, {name: head})
            if head.normals == "needed":
                panel.fit(normals)
            prepared = [panel.prepare(image) for image in images]
            specs = list(panel.specs.values())
            spent = setup.seconds(partial(panel.score, prepared, "hazelnut"))
            passes = setup.seconds(partial(panel.extractor.extract, prepared, specs))
            beside = f"{spent / passes:.2f} of its passes; {waits(setup, panel, prepared)}"
            yield f"heads, {dtype}: {name}", setup.batch / spent, "images/s", beside
            del prepared, panel, head
            yield setup.peak(f"heads, {dtype}: {name}")


def waits(setup: Setup, panel: Panel, prepared: list) -> str:
    """How often the host waits for the device while a batch is scored, which should be never."""
    if not setup.on_gpu:
        return "waits are counted on GPUs"
    torch.cuda.set_sync_debug_mode("warn")
    try:
        with warnings.catch_warnings(record=True) as seen:
            warnings.simplefilter("always")
            panel.score(prepared, "hazelnut")
    finally:
        torch.cuda.set_sync_debug_mode("default")
    return f"the host waits {sum('synchroniz' in str(x.message) for x in seen)} times a batch"


def files(setup: Setup) -> Rows:
    """Image files to scores by the memory head, and how long the device waits for them."""
    samples = list_samples([HAZELNUT / "test"])
    samples *= -(-setup.batch * (40 if setup.on_gpu else 2) // len(samples))
    threads = readers(setup.device)
    for dtype in DTYPES:
        backbone = setup.placed(setup.backbone, getattr(torch, dtype))
        panel = Panel(backbone, {"memory": load_head("memory")})
        panel.fit(photos("train", 4))
        prepared = [panel.prepare(image) for image in photos("test", setup.batch)]
        setup.seconds(partial(panel.score, prepared))  # to warm up
        panel.clock.restart()
        found = score_samples(panel, samples, batch_size=setup.batch, open_image=read_image)
        wall = setup.once(lambda found=found: sum(map(len, found)))
        waited = 1 - sum(panel.clock.seconds.values()) / wall
        beside = f"{threads} threads read; the device waited {waited:.0%} of the time for reading"
        yield f"files to scores, {dtype}", len(samples) / wall, "images/s", beside
    yield setup.peak("files")

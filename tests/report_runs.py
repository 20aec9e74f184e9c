"""Finished runs for the tests of the report, and what its page shows of them."""

import numpy as np
from PIL import Image

from vlad.images import read_image
from vlad.report import write_report
from vlad.report.overlays import shared_scales, write_overlays
from vlad.results.folder import RunFolder
from vlad.results.rows import Row
from vlad.types import Sample

NAMES = ["0.png", "1.png", "<b>2.png", "=3 #é.png", "4.png", "5.png"]
LABELS = [0, 0, 1, 0, None, 1]
SETTINGS = {"category": "nut & bolt", "backbone": "tiny", "params": {"memory": "0.1"}}


def make_run(tmp_path, names, labels=None, heads=("winclip", "memory"), failed=(), size=(32, 24)):
    """A finished run; image i scores i/10 under the first head and -i/10 under the second."""
    (tmp_path / "images").mkdir()
    run = RunFolder(tmp_path / "run", {head: (0.0, 1.0) for head in heads}, SETTINGS).create()
    samples = []
    for i, name in enumerate(names):
        label = labels[i] if labels else None
        sample = Sample(tmp_path / "images" / name, str(i), label=label)
        samples.append(sample)
        if name in failed:
            run.append([Row(str(sample.path), error=f"cannot read {name}")])
            continue
        with open(sample.path, "wb") as file:
            Image.new("RGB", size, (9 * i % 256, 60, 90)).save(file, "PNG")
        for head in heads:
            run.write_map(head, sample, np.eye(8) * (i + 1) / len(names), size)
        scores = dict(zip(heads, (i / 10, -i / 10), strict=False))
        run.append([Row(str(sample.path), scores)])
    run.finish([sample.path for sample in samples])
    return run, samples


def write(run, samples, **kwargs) -> str:
    """Write overlays and report.html; return its text."""
    scales = shared_scales(run, samples)
    write_overlays(run, samples, scales, read_image)
    path = write_report(run, samples, scales, read_image, "1 May 2026", **kwargs)
    return path.read_text(encoding="utf-8")


def names(page):
    """The names on the cards that show, in order."""
    return page.locator("#gallery .card .name").all_text_contents()


def verdicts(page):
    cards = page.locator("#gallery .card").all()
    found = [c.locator("p.verdict:visible").all_text_contents() for c in cards]
    return [" ".join(words).strip() for words in found]


def said(page, head=0):
    return page.locator(".chart .said").nth(head).text_content()


def code(page, head=0):
    return page.locator(".chart code").nth(head).text_content()


def move(page, threshold, head=0):
    page.locator(".slider").nth(head).fill(str(threshold))

"""Find and check the data for training.

All images are read once before training, so damaged images and masks of other images show up at the
start, and every process uses the same images.
"""

from __future__ import annotations

import hashlib
import io
import os
import re
from collections.abc import Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import NamedTuple

from vlad.datasets import list_samples, load_dataset
from vlad.datasets.layout import is_normal
from vlad.errors import ImageError, InputError
from vlad.images.masks import check_fit, mask_files
from vlad.scoring.ahead import ahead
from vlad.synthetic import SyntheticSet
from vlad.system.progress import Progress
from vlad.system.text import instead
from vlad.training.data import PLAIN, Data, Labelled, Reading, Source, Synthetic
from vlad.types import Sample


def load_data(
    roots: Iterable[str],
    *,
    layout: str = "auto",
    synthetic: Iterable[str] = (),
    hold_out: Sequence[str] = (),
    seed: int = 0,
    reading: Reading = PLAIN,
    show: bool = True,
    pairs: bool = False,
) -> Data:
    """Open labelled sets (their test images, as the methods' authors do) and normal images.

    Args:
        roots: "DIR" or "DIR:WEIGHT", folders of labelled sets.
        layout: their layout.
        synthetic: likewise, folders of normal images, or sets whose normal images are used; defects
            are drawn into these.
        hold_out: categories excluded from training.
        seed: seed of the drawn defects.
        show: whether to show progress.
        pairs: whether the head learns from each image beside a normal one, which comes from the
            training split of its category.

    Raises:
        InputError: an unknown set or category, no normal or no anomalous image in all of them, a
            mask whose proportions differ from its image, or a category without normal images to
            pair the others with.
    """
    sets = [(*weighted(text), False) for text in roots]
    sets += [(*weighted(text), True) for text in synthetic]
    if not sets:
        raise InputError("No training data: give `data` or `synthetic`.")
    found: list[_Set] = []
    held_out: dict[str, list[Sample]] = {}
    of_held_out: dict[str, list[Sample]] = {}
    for root, weight, is_synthetic in sets:
        samples = _normals(root) if is_synthetic else _labelled(layout, root)
        for name in hold_out:
            own = [s for s in samples if s.category == name]
            held_out[name] = held_out.get(name, []) + own
            if pairs and not is_synthetic:
                of_held_out[name] = of_held_out.get(name, []) + _beside(layout, root, own)
        kept = [s for s in samples if s.category not in hold_out]
        beside = _beside(layout, root, kept) if pairs and not is_synthetic else []
        name = _name(root, [other.name for other in found])
        found.append(_Set(name, kept, weight, is_synthetic, beside))
    for name in hold_out:
        if not held_out[name]:
            known = sorted({s.category or "" for one in found for s in one.samples})
            raise InputError(f"unknown category {name!r} to hold out{instead(name, known)}")
    sources: list[Source] = []
    normals: list[Labelled] = []
    left_out: dict[str, str] = {}
    total = sum(len(one.samples) + len(one.beside) for one in found)
    with Progress(total, verb="checked", stream=None if show else io.StringIO()) as bar:
        for one in found:
            samples, digests, bad = check(one.samples, reading, bar)
            others, of_others, worse = check(one.beside, reading, bar)
            left_out |= bad | worse
            if not samples:
                continue
            if one.is_synthetic:
                drawn = _draw(samples, seed, reading)
                sources.append(Synthetic(one.name, samples, digests, drawn, one.weight))
                others, of_others = samples, digests
            else:
                sources.append(Labelled(one.name, samples, digests, one.weight, reading))
            normals.append(Labelled(one.name, others, of_others, reading=reading))
    _need_both(sources, left_out)
    if not pairs:
        return Data(sources, held_out, left_out)
    _need_normals(sources, normals)
    return Data(sources, held_out, left_out, normals, of_held_out)


class _Set(NamedTuple):
    """A set as it was listed: its images, and the normal ones to pair them with."""

    name: str
    samples: list[Sample]
    weight: float
    is_synthetic: bool
    beside: list[Sample]


def weighted(text: str) -> tuple[str, float]:
    """ "visa:2" -> ("visa", 2.0); a name without weight, or an existing folder, has 1.

    Raises:
        InputError: the weight is 0 or above 1000.
    """
    match = re.fullmatch(r"(.+):(\d+(?:\.\d+)?)", text)
    if not match or os.path.exists(text):
        return text, 1.0
    weight = float(match[2])
    if not 0 < weight <= 1000:
        raise InputError(
            f"the weight of {text} is out of range; give a number above 0 and up to 1000."
        )
    return match[1], weight


def check(
    samples: Sequence[Sample], reading: Reading, bar: Progress
) -> tuple[list[Sample], list[str], dict[str, str]]:
    """Read all images and masks.

    Returns:
        the usable samples; a hash of each one's files; path -> reason why another is unusable.

    Raises:
        InputError: the proportions of a mask differ from its image.
    """
    good, digests, bad = [], [], {}

    def read(sample: Sample) -> tuple[str | None, str]:
        try:
            image = reading.open(sample.path)
            if sample.label and sample.mask is not None:
                check_fit(reading.mask(sample.mask), sample, image.size, InputError)
            return file_digest(sample), ""
        except ImageError as error:
            return None, str(error)

    with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as pool:
        for sample, (digest, error) in zip(samples, ahead(pool, read, samples, 32), strict=True):
            bar.advance(failed=bool(error))
            if error:
                bad[str(sample.path)] = error
            else:
                good.append(sample)
                digests.append(digest)
    return good, digests, bad


def file_digest(sample: Sample) -> str:
    """SHA-256 of the content of an image and its mask.

    Raises:
        ImageError: a file is unreadable.
    """
    digest = hashlib.sha256()
    files = [sample.path]
    if sample.label and sample.mask is not None:
        files += mask_files(sample.mask)
    try:
        for file in files:
            digest.update(hashlib.sha256(Path(file).read_bytes()).digest())
    except OSError as error:
        raise ImageError(
            f"cannot read {file}: {error.strerror}; make it readable, or leave it out."
        ) from error
    return digest.hexdigest()


def seen_before(data: Data) -> list[str]:
    """Held-out images whose file content is also in the training data."""
    known = {digest for source in data.sources for digest in source.digests}
    return [
        str(sample.path)
        for samples in data.held_out.values()
        for sample in samples
        if os.path.isfile(sample.path) and file_digest(sample) in known
    ]


def _labelled(layout: str, root: str) -> list[Sample]:
    data = load_dataset(layout, root)
    return [sample for category in data.categories for sample in data.test(category)]


def _beside(layout: str, root: str, samples: Sequence[Sample]) -> list[Sample]:
    """The normal training images of the categories of these images."""
    data = load_dataset(layout, root)
    wanted = {sample.category for sample in samples}
    return [s for name in data.categories if name in wanted for s in data.train(name)]


def _normals(root: str) -> list[Sample]:
    """The normal images of a labelled set, or all images of a plain folder, named after it."""
    try:
        data = load_dataset("auto", root)
    except InputError:
        category = _object(Path(root).expanduser().resolve()).name
        return [replace(s, category=category, label=0) for s in list_samples([root])]
    return [replace(s, label=0) for category in data.categories for s in data.train(category)]


def _object(folder: Path) -> Path:
    """ "bottle" for bottle/train/good: the nearest folder that names the object."""
    above = (folder, *folder.parents)
    return next((f for f in above if not is_normal(f.name) and f.name != "train"), folder)


def _draw(samples: Sequence[Sample], seed: int, reading: Reading) -> SyntheticSet:
    return SyntheticSet(samples, seed=seed, open_image=reading.open)


def _name(root: str, taken: Sequence[str]) -> str:
    """The folder's name, numbered if another set has the same."""
    path = _object(Path(root).expanduser().resolve())
    name = path.stem if path.suffix.lower() == ".csv" else path.name
    name = "".join(c if c.isprintable() else "_" for c in name).strip() or "data"
    names = [name, *(f"{name} ({n})" for n in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _need_both(sources: Sequence[Source], left_out: Mapping[str, str]) -> None:
    if any(isinstance(source, Synthetic) for source in sources):
        return  # it has both
    labels = {sample.label for source in sources for sample in source.samples}
    for label, word in ((1, "anomalous"), (0, "normal")):
        if label not in labels:
            why = f" ({len(left_out)} could not be read)" if left_out else ""
            raise InputError(
                f"the data have no {word} images{why}, but both kinds are needed; add a set that "
                "has some."
            )


def _need_normals(sources: Sequence[Source], normals: Sequence[Labelled]) -> None:
    for source, normal in zip(sources, normals, strict=True):
        known = {sample.category for sample in normal.samples}
        for sample in source.samples:
            if sample.category not in known:
                raise InputError(
                    f"the training split of {sample.category} in {source.name} has no readable "
                    "image, but the head learns from each image beside a normal one; add some, or "
                    "leave the set out."
                )

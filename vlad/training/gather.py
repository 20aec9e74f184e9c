"""Finding what an adapter is trained on.

All images are read once before the training, so that a damaged one, or a mask that belongs to
another image, shows at the start, and every process knows of the same images.
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

from vlad.datasets import list_samples, load_dataset
from vlad.datasets.layout import is_normal
from vlad.errors import ImageError, InputError
from vlad.images.masks import fits, mask_files
from vlad.scoring.pipeline import ahead
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
) -> Data:
    """Opens labelled sets (their test images, as the methods' authors do) and normal images.

    Args:
        roots: "DIR" or "DIR:WEIGHT", folders of labelled sets.
        layout: of these sets.
        synthetic: the same for folders of normal images, or sets of which only the normal
            images to refer to are taken; defects are drawn into these.
        hold_out: categories that are not learned from.
        seed: of the drawn defects.
        show: whether to say how far the reading is.

    Raises:
        InputError: no such set, nothing normal or nothing anomalous in all of them, a mask of
            other proportions than its image, or no such category to hold out.
    """
    sets = [(*weighted(text), False) for text in roots]
    sets += [(*weighted(text), True) for text in synthetic]
    if not sets:
        raise InputError("No training data: give `data` or `synthetic`.")
    found: list[tuple[str, list[Sample], float, bool]] = []
    held_out: dict[str, list[Sample]] = {}
    for root, weight, is_synthetic in sets:
        samples = _normals(root) if is_synthetic else _labelled(layout, root)
        for name in hold_out:
            held_out[name] = held_out.get(name, []) + [s for s in samples if s.category == name]
        kept = [s for s in samples if s.category not in hold_out]
        found.append((_name(root, [name for name, *_ in found]), kept, weight, is_synthetic))
    for name in hold_out:
        if not held_out[name]:
            known = sorted({s.category or "" for _, kept, *_ in found for s in kept})
            raise InputError(f"no category {name!r} to hold out{instead(name, known)}")
    sources: list[Source] = []
    left_out: dict[str, str] = {}
    total = sum(len(samples) for _, samples, *_ in found)
    with Progress(total, verb="checked", stream=None if show else io.StringIO()) as bar:
        for name, samples, weight, is_synthetic in found:
            samples, digests, bad = check(samples, reading, bar)
            left_out |= bad
            if is_synthetic:
                drawn = _draw(samples, seed, reading)
                sources.append(Synthetic(name, samples, digests, drawn, weight))
            else:
                sources.append(Labelled(name, samples, digests, weight, reading))
    sources = [source for source in sources if source.samples]
    _need_both(sources, left_out)
    return Data(sources, held_out, left_out)


def weighted(text: str) -> tuple[str, float]:
    """ "visa:2" -> ("visa", 2.0); a name without weight, or a folder of that very name, has 1.

    Raises:
        InputError: a weight of 0, or above 1000.
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
    """Reads all images and masks.

    Returns:
        the samples that can be used; a hash of the files of each; path -> why another cannot.

    Raises:
        InputError: a mask of other proportions than its image.

    Raises:
    """
    good, digests, bad = [], [], {}

    def read(sample: Sample) -> tuple[str | None, str]:
        try:
            image = reading.open(sample.path)
            if sample.label and sample.mask is not None:
                mask = reading.mask(sample.mask)
                if not fits(mask, image.size):
                    raise InputError(
                        f"the mask {sample.mask} has {mask.shape[1]}×{mask.shape[0]} pixels and "
                        f"its image {sample.path} has {image.size[0]}×{image.size[1]}; correct one "
                        "of them, or take the image out."
                    )
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
    """SHA-256 over the content of an image and of its mask.

    Raises:
        ImageError: a file cannot be read.
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
    """Held-out images whose very file is also among those learned from."""
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


def _normals(root: str) -> list[Sample]:
    """The normal images of a labelled set, or all in a plain folder, named after it."""
    try:
        data = load_dataset("auto", root)
    except InputError:
        category = _object(Path(root).expanduser().resolve()).name
        return [replace(s, category=category, label=0) for s in list_samples([root])]
    return [replace(s, label=0) for category in data.categories for s in data.train(category)]


def _object(folder: Path) -> Path:
    """Of bottle/train/good, bottle: the nearest folder that is named after what is shown."""
    above = (folder, *folder.parents)
    return next((f for f in above if not is_normal(f.name) and f.name != "train"), folder)


def _draw(samples: Sequence[Sample], seed: int, reading: Reading) -> SyntheticSet:
    return SyntheticSet(samples, seed=seed, open_image=reading.open)


def _name(root: str, taken: Sequence[str]) -> str:
    """The folder's name, with a number where another set has it."""
    path = _object(Path(root).expanduser().resolve())
    name = path.stem if path.suffix.lower() == ".csv" else path.name
    name = "".join(c if c.isprintable() else "_" for c in name).strip() or "data"
    names = [name, *(f"{name} ({n})" for n in range(2, len(taken) + 2))]
    return next(name for name in names if name not in taken)


def _need_both(sources: Sequence[Source], left_out: Mapping[str, str]) -> None:
    if any(isinstance(source, Synthetic) for source in sources):
        return  # both are drawn
    labels = {sample.label for source in sources for sample in source.samples}
    for label, word in ((1, "anomalous"), (0, "normal")):
        if label not in labels:
            why = f" ({len(left_out)} could not be read)" if left_out else ""
            raise InputError(
                f"the data have no {word} images{why}, and both kinds are needed; add a set that "
                "has some."
            )

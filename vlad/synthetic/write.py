"""A labelled data set of synthetic defects on disk, in the layout of MVTec AD.

train/good/000.jpg                          reference images, unchanged
test/good/000.jpg                           the other normal images
test/<generator>/000.png                    images with a defect
ground_truth/<generator>/000_mask.png       their masks
manifest.csv                                all of these, their sources and words
synth.json                                  settings, and the files left out
sheet.jpg                                   a few examples of each
"""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
from PIL import Image

from vlad.errors import ImageError, InputError, OutputError
from vlad.images import read_image
from vlad.synthetic import SyntheticSet, load_generators
from vlad.synthetic.sheet import contact_sheet
from vlad.system.files import atomic_write, check_writable
from vlad.system.text import csv_line, csv_path, encode
from vlad.types import Sample

_COLUMNS = ("path", "label", "mask", "split", "defect", "words", "source")
_KEPT = 4  # reference images that `vlad eval` uses by default
_SHOWN = 6


@dataclass(frozen=True)
class Written:
    """The files written.

    Attributes:
        sheet: the contact sheet.
        references: the images of train/good.
        held_out: those of test/good.
        damaged: generator -> its images.
        left_out: path -> reason why a normal image is not used.
    """

    sheet: Path
    references: list[Path] = field(default_factory=list)
    held_out: list[Path] = field(default_factory=list)
    damaged: dict[str, list[Path]] = field(default_factory=dict)
    left_out: dict[str, str] = field(default_factory=dict)


def check_folder(out: str | Path) -> None:
    """Check that a set may be written to `out`, before anything is computed.

    Raises:
        OutputError: the folder is not empty or not writable.
    """
    if os.path.isdir(out) and os.listdir(out):
        raise OutputError(f"{out} is not empty; choose another folder.")
    check_writable(out)


def write_set(
    samples: Sequence[Sample],
    out: str | Path,
    generators: Sequence[str],
    count: int = 8,
    seed: int = 0,
    *,
    textures: Sequence[Sample] = (),
    progress: Callable[[], None] = lambda: None,
) -> Written:
    """Write the set.

    A random third of the normal images is held out as test/good. Defects are drawn on them in turn,
    so no damaged image has its original in train/good.

    Args:
        samples: normal images, at least two of them readable; unreadable ones are left out.
        generators: their names.
        count: number of images per generator.
        textures: as for `SyntheticSet`.
        progress: called after each image with a defect.

    Raises:
        InputError: an unknown generator, or fewer than two readable images.
        OutputError: the folder is not empty or not writable.
    """
    check_folder(out)
    out = Path(out)
    names = list(load_generators(generators))
    done = Written(out / "sheet.jpg")
    usable = []
    for sample in samples:
        try:
            read_image(sample.path)
            usable.append(sample)
        except ImageError as error:
            done.left_out[str(sample.path)] = str(error)
    held_out, references = _split(usable, seed)
    rows = []
    for part, folder, copies in (
        (references, "train", done.references),
        (held_out, "test", done.held_out),
    ):
        for number, sample in enumerate(part):
            name = f"{folder}/good/{number:03}{sample.path.suffix.lower()}"
            copies.append(_copy(sample.path, out / name))
            rows.append((name, 0, "", folder, "good", "", sample.path))
    shown: dict[str, list[tuple[Image.Image, np.ndarray]]] = {}
    for name in names:
        made = SyntheticSet([*held_out, *references], [name], seed, 1, textures=textures)
        for number in range(count):
            epoch, index = divmod(number, len(held_out))
            item = made.item(index, epoch)
            mask = Image.fromarray(np.uint8(item.mask) * 255)
            files = f"test/{name}/{number:03}.png", f"ground_truth/{name}/{number:03}_mask.png"
            for image, file in zip((item.image, mask), files, strict=True):
                atomic_write(out / file, partial(image.save, format="PNG"))
            source = made.normals[index].path
            rows.append((files[0], 1, files[1], "test", name, item.words, source))
            done.damaged.setdefault(name, []).append(out / files[0])
            if number < _SHOWN:
                shown.setdefault(name, []).append((item.image, item.mask))
            progress()
    atomic_write(done.sheet, partial(contact_sheet(shown).save, format="JPEG", quality=92))
    lines = [csv_line([csv_path(str(cell)) for cell in row]) for row in (_COLUMNS, *rows)]
    atomic_write(out / "manifest.csv", encode("".join(lines)))
    made_with = {"kind": "vlad synth", "seed": seed, "count": count}
    made_with |= {"generators": names, "left_out": done.left_out}
    atomic_write(out / "synth.json", encode(json.dumps(made_with, indent=2, ensure_ascii=False)))
    return done


def _split(samples: Sequence[Sample], seed: int) -> tuple[list[Sample], list[Sample]]:
    """A third of the images, fewer if that leaves less than four others, and these others."""
    if len(samples) < 2:
        raise InputError(
            f"a set needs at least two normal images, got {len(samples)} readable; give more."
        )
    most = max(1, len(samples) - _KEPT)
    count = int(np.clip(round(len(samples) / 3), 1, most))
    chosen = set(np.random.default_rng(seed).permutation(len(samples))[:count].tolist())
    return (
        [sample for i, sample in enumerate(samples) if i in chosen],
        [sample for i, sample in enumerate(samples) if i not in chosen],
    )


def _copy(source: Path, target: Path) -> Path:
    with open(source, "rb") as file:
        return atomic_write(target, partial(shutil.copyfileobj, file))

"""Why images of a run are anomalous, in its file reasons.jsonl and its folder reasons/.

A line an image, ASCII: `{"path", "state", "heads": {head: explanation}}`. `state` is what the file
was, as in files.csv. An explanation is what `vlad.reasons.Explanation.to_json` holds, and in each
region `crop` and `reference_crop`: files of the run folder, or null. They are named by their
content, so each is there once. If a vision-language model was asked, the key `words` holds what it
says (`vlad.vlm.words.Words`).

Lines are appended as images are explained; where an image has several, the last one counts.
"""

from __future__ import annotations

import io
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from hashlib import sha256
from pathlib import PurePath
from typing import Any

from PIL import Image

from vlad.images.resize import fit_within
from vlad.results.folder import RunFolder
from vlad.results.lines import append_lines, line, read_lines
from vlad.results.rows import State
from vlad.system.files import atomic_write
from vlad.vlm.words import Words

FILE = "reasons.jsonl"
CROPS = "reasons"
PARTS = ("crop", "reference_crop")  # of a region
SIDE = 160  # pixels of the longer side of a crop, so that a file takes about 5 KB

Explanations = Mapping[str, Mapping[str, Any]]  # head -> explanation


@dataclass(frozen=True)
class Reasons:
    """Why some images of a run are anomalous.

    Attributes:
        found: path -> the explanations of that image.
        sentence: which images these are, and how many.
        words: path -> what a vision-language model says about that image; no score depends on it.
    """

    found: Mapping[str, Explanations] = field(default_factory=dict)
    sentence: str = ""
    words: Mapping[str, Words] = field(default_factory=dict)


def append_reasons(
    folder: RunFolder, path: str, explanations: Explanations, words: Words | None = None
) -> None:
    """Append the explanations of an image that has a row, and a model's words about it, if any.

    Raises:
        OutputError: the file cannot be written.
    """
    append_lines(folder.out / FILE, [_value(folder, path, explanations, words)])


def read_reasons(folder: RunFolder) -> dict[str, Explanations]:
    """Path -> explanations, of the images whose file is as it was when they were explained.

    Those that name a crop that is gone are left out, so that the image is explained again.
    """
    found = {path: value["heads"] for path, value in _values(folder)}
    return {path: one for path, one in found.items() if _whole(folder, one)}


def read_words(folder: RunFolder) -> dict[str, Words]:
    """Path -> a model's words, of the images whose file is as it was when the model was asked."""
    found: dict[str, Words] = {}
    for path, value in _values(folder):
        found.pop(path, None)
        with suppress(KeyError, TypeError):  # none, or no form that vlad writes
            found[path] = Words(**value["words"])
    return found


def finish_reasons(
    folder: RunFolder, found: Mapping[str, Explanations], words: Mapping[str, Words]
) -> None:
    """Keep these explanations, in this order, with words and crops; delete all others.

    Raises:
        OutputError: a file cannot be written or deleted.
    """
    lines = (line(_value(folder, path, one, words.get(path))) for path, one in found.items())
    atomic_write(folder.out / FILE, lambda file: file.writelines(lines))
    named = {name for explanations in found.values() for name in _crops(explanations)}
    there = (folder.out / CROPS).glob("*") if (folder.out / CROPS).is_dir() else ()
    folder.drop(*(name for file in there if (name := f"{CROPS}/{file.name}") not in named))


def without_folders(region: Mapping[str, Any]) -> dict[str, Any]:
    """A region of an explanation, whose reference image goes by its file name alone."""
    path = region["reference"]
    if not path:
        return dict(region)
    name = PurePath(path).name
    short = [text.replace(path, name) for text in (*region["texts"], region["reference_note"])]
    return {**region, "texts": short[:-1], "reference": name, "reference_note": short[-1]}


def keep_crop(folder: RunFolder, crop: Image.Image) -> str:
    """Keep a crop, at most `SIDE` pixels a side; return its name below the folder of the run.

    Raises:
        OutputError: the file cannot be written.
    """
    small = crop.convert("RGB")
    if max(small.size) > SIDE:
        small = small.resize(fit_within(small.size, SIDE), Image.Resampling.LANCZOS)
    file = io.BytesIO()
    small.save(file, "JPEG", quality=85)
    data = file.getvalue()
    name = f"{CROPS}/{sha256(data).hexdigest()[:16]}.jpg"
    if not (folder.out / name).exists():
        atomic_write(folder.out / name, data)
    return name


def _values(folder: RunFolder) -> Iterator[tuple[str, dict[str, Any]]]:
    """Path and line, in the order in which they were written, of files that have not changed."""
    for value in read_lines(folder.out / FILE):
        match value:
            case {"path": str(path), "state": [int(), int(), int()] as state, "heads": dict()}:
                if folder.rows.scored(path) and State(*state).same(folder.rows[path].state):
                    yield path, value


def _value(
    folder: RunFolder, path: str, explanations: Explanations, words: Words | None
) -> dict[str, object]:
    state = folder.rows[path].state
    told = {} if words is None else {"words": words.as_dict()}
    return {"path": path, "state": state and list(state), "heads": explanations, **told}


def _whole(folder: RunFolder, explanations: Explanations) -> bool:
    """True if all crops are there."""
    return all((folder.out / name).is_file() for name in _crops(explanations))


def _crops(explanations: Explanations) -> list[str]:
    regions = [region for one in explanations.values() for region in one["regions"]]
    return [name for one in regions for key in PARTS if (name := one[key])]

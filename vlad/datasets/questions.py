"""Multiple-choice questions about images: MMAD's JSON, and a plain CSV."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from string import ascii_lowercase, ascii_uppercase
from typing import Any, Literal

from vlad.errors import InputError
from vlad.system.resources import read_json
from vlad.system.spreadsheet import read_rows
from vlad.system.text import shown

Templates = Literal["random", "similar"]
# kinds of MMAD that its authors count as one
MERGED = {"Object Structure": "Object Analysis", "Object Details": "Object Analysis"}
HEADER = "image,question,A,B,C,D,answer,kind"


@dataclass(frozen=True)
class Question:
    """A question with several answers, one of which is right.

    Attributes:
        image: what it is about, relative to the folder of the images.
        data: the data set of the image, or "".
        kind: what it asks for, such as "Anomaly Detection".
        text: the question.
        options: the answers, in the order of the file.
        answer: place of the right one.
        references: normal images of the same object, most useful first.
    """

    image: str
    data: str
    kind: str
    text: str
    options: tuple[str, ...]
    answer: int
    references: tuple[str, ...] = ()


def read_questions(path: str | os.PathLike, templates: Templates = "random") -> list[Question]:
    """The questions of a file, in order.

    JSON is MMAD's (Jiang et al., ICLR 2025, arXiv 2410.09453): image -> a table with
    `conversation`, a list of `Question`, `Options` (letter -> text), `Answer` (a letter) and
    `type`, and with the normal images `random_templates` and `similar_templates`; the data set is
    the first folder of the image. In CSV, a line is a question with the columns `image`,
    `question`, `A`, `B`, ... without a gap (blank for a missing option), `answer` (a letter), and
    any of `kind`, `data` and `reference` (a normal image).

    Args:
        templates: which normal images of MMAD.

    Raises:
        InputError: an unreadable file, no questions, or one that is not as above.
    """
    path = Path(path).expanduser()
    found = list(_json(path, templates) if path.suffix.lower() == ".json" else _csv(path))
    if not found:
        raise InputError(f"{path} has no questions; add one.")
    return found


def _json(path: Path, templates: Templates) -> Iterator[Question]:
    try:
        content = read_json(path)
    except OSError as error:
        raise InputError(
            f"cannot read the questions {path}: {error.strerror}; check the path and permissions."
        ) from error
    except ValueError as error:
        raise InputError(
            f"the questions {path} are not JSON ({shown(error)}); give MMAD's mmad.json, or a CSV."
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"the questions {path} are not a table of images; give MMAD's mmad.json, or a CSV."
        )
    for image, entry in content.items():
        where = f"{shown(image)} in {path}"
        asked = entry.get("conversation") if isinstance(entry, dict) else None
        if not isinstance(asked, list):
            raise InputError(f"{where} has no list `conversation`; add it as in MMAD's mmad.json.")
        references = entry.get(f"{templates}_templates", [])
        if not (isinstance(references, list) and all(isinstance(x, str) for x in references)):
            raise InputError(f"{where}: {templates}_templates is not a list of paths; correct it.")
        inside = tuple(_inside(name, where) for name in references)
        data = image.partition("/")[0] if "/" in image else ""
        for number, one in enumerate(asked, 1):
            table = one if isinstance(one, dict) else {}
            names = ("Question", "Options", "Answer", "type")
            text, options, answer, kind = (table.get(name) for name in names)
            yield _question(
                image, data, kind, text, options, answer, inside, f"question {number} of {where}"
            )


def _csv(path: Path) -> Iterator[Question]:
    for line, row in read_rows(path, "list of questions", HEADER):
        columns = takewhile(row.__contains__, ascii_lowercase)
        options = {x.upper(): text for x in columns if (text := row[x])}
        where = f"line {line} of {path}"
        names = ("image", "data", "kind", "question")
        image, data, kind, text = (row.get(name, "") for name in names)
        reference = row.get("reference", "")
        references = (_inside(reference, where),) if reference else ()
        answer = row.get("answer", "").upper()
        yield _question(image, data, kind, text, options, answer, references, where)


def _question(
    image: str,
    data: str,
    kind: Any,
    text: Any,
    options: Any,
    answer: Any,
    references: tuple[str, ...],
    where: str,
) -> Question:
    if not (isinstance(text, str) and text.strip()):
        raise InputError(f"{where} has no text; write the question, or delete it.")
    usable = isinstance(options, Mapping) and all(isinstance(x, str) for x in options.values())
    if not usable or not 2 <= len(options) <= len(ascii_uppercase):
        raise InputError(f"{where} does not have two options or more, as text; add them.")
    letters = list(options)
    if answer not in letters:
        raise InputError(
            f"{where} has the answer {shown(repr(answer))}, which is not an option; write one of "
            f"{', '.join(map(shown, letters))}."
        )
    # among wrong ones a repeated option changes nothing
    plain = [option.strip().casefold() for option in options.values()]
    if plain.count(plain[letters.index(answer)]) > 1:
        raise InputError(f"{where} has the right option twice; write another.")
    kind = kind if isinstance(kind, str) else ""
    return Question(
        _inside(image, where),
        data,
        MERGED.get(kind, kind),
        text.strip(),
        tuple(option.strip() for option in options.values()),
        letters.index(answer),
        references,
    )


def _inside(name: str, where: str) -> str:
    """A path of an image, which may be sent to an endpoint, so it must not be anywhere else."""
    if not name or "\0" in name or Path(name).is_absolute() or ".." in Path(name).parts:
        raise InputError(
            f"{where}: {shown(repr(name))} is not an image in the data folder; give its path from "
            "there."
        )
    return name

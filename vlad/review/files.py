"""The files that labels are about."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from vlad.errors import InputError
from vlad.review.labels import Label
from vlad.review.merging import settled
from vlad.scoring.record import digest_of
from vlad.system.text import and_more, shown


@dataclass(frozen=True)
class Reviewed:
    """A file and its label, whose digest is that of the file's content now."""

    file: Path
    label: Label


def find_files(labels: Sequence[Label], folders: Sequence[Path]) -> list[Reviewed]:
    """The files of labels, each content once.

    A path is looked for from each folder on, and as it is; then its name alone in each folder. A
    file of another content than was labelled is passed over.

    Args:
        labels: one of each image.

    Raises:
        InputError: files that are missing or changed, or one content with labels that contradict
            each other.
    """
    files: dict[str, Path] = {}
    now: list[Label] = []
    missing: list[str] = []
    changed: list[str] = []
    for label in labels:
        found: dict[str, Path] = {}
        for file in candidates(label.path, folders):
            found.setdefault(digest_of(file), file)
        digest = label.digest or next(iter(found), "")
        if digest in found:
            files[label.path] = found[digest]
            now.append(replace(label, digest=digest))
        else:
            (changed if found else missing).append(label.path)
    if missing:
        raise InputError(
            f"{len(missing)} of {len(labels)} labelled images not found: {_named(missing)}; "
            "correct the paths, or give the folder of these images as `image_folder`."
        )
    if changed:
        raise InputError(
            f"{len(changed)} of {len(labels)} labelled images changed since they were labelled: "
            f"{_named(changed)}; label them again, or remove their lines."
        )
    # without digests, one content may have been labelled under two names
    return [Reviewed(files[label.path], label) for label in settled(now)]


def candidates(path: str, folders: Sequence[Path]) -> Iterator[Path]:
    """Files that a path may mean, the most likely first."""
    places = [*(folder / path for folder in folders), Path(path)]
    places += [folder / Path(path).name for folder in folders]
    return (place for place in places if place.is_file())


def _named(paths: Sequence[str]) -> str:
    return shown(and_more(paths, 3))

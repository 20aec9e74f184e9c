"""Find images by files, folders and patterns."""

from __future__ import annotations

import fnmatch
import glob
import os
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.images.decode import SUFFIXES
from vlad.types import Sample

Paths = str | os.PathLike | Iterable[str | os.PathLike]


def list_images(paths: Paths) -> list[Sample]:
    """List the images of files, folders and patterns, each file once.

    Args:
        paths: one or several of: a file with any suffix; a folder, searched recursively; a pattern
            with `*`, `?`, `[]` or `**`. Folders and patterns find only files with an image suffix,
            without hidden ones. The order is that of the arguments, then sorted by path.

    Raises:
        InputError: no paths, or a path that does not exist or has no image.
    """
    return with_ids(find_images(one_or_many(paths)))


def one_or_many(paths: Paths) -> list[str | os.PathLike]:
    """`paths` as a list; raise an InputError if empty."""
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not paths:
        raise InputError("`paths` is empty; give files, folders, patterns or a manifest.")
    return paths


def find_images(paths: Iterable[str | os.PathLike]) -> list[tuple[Sample, Path]]:
    """Each image, without an id yet, and the folder it was found in."""
    found = []
    for path in paths:
        folder, files = _expand(os.path.expanduser(os.fspath(path)))
        found += [(Sample(Path(file), id=""), folder) for file in files]
    return found


def _expand(text: str) -> tuple[Path, list[str]]:
    if os.path.isdir(text):
        files = list(walk(text))
        if not files:
            raise InputError(
                f"no images in {text}; give files with a suffix such as .png, .jpg or .tif."
            )
        return Path(text), files
    if os.path.lexists(text):
        return Path(text).parent, [text]
    if not glob.has_magic(text):
        raise InputError(f"there is no file or folder {text}; check the path.")
    files = _match(text)
    if not files:
        raise InputError(f"no image matches {text}; check the pattern.")
    return _fixed_part(text), files


def walk(folder: str, seen: set[str] | None = None) -> Iterator[str]:
    """Images below a folder, sorted by path; `seen` breaks loops of links.

    Raises:
        InputError: a folder cannot be listed.
    """
    seen = set() if seen is None else seen
    waiting = [folder]  # a stack: deep folders would exhaust recursion
    while waiting:
        path = waiting.pop()
        if path != folder and not os.path.isdir(path):
            if is_image_name(os.path.basename(path)):
                yield path
            continue
        real = os.path.realpath(path)
        if real not in seen:
            seen.add(real)
            waiting += (os.path.join(path, name) for name in reversed(_names(path)))


def _names(folder: str) -> list[str]:
    """The names in a folder that are not hidden, sorted."""
    try:
        return sorted(name for name in os.listdir(folder) if not name.startswith("."))
    except OSError as error:
        raise InputError(
            f"cannot list the folder {folder}: {error.strerror}; make it readable or leave it out."
        ) from error


def is_image_name(name: str) -> bool:
    """Return whether the name has an image suffix and is not hidden."""
    return not name.startswith(".") and os.path.splitext(name)[1].lower() in SUFFIXES


def _match(pattern: str) -> list[str]:
    """Images that match, or are in a matching folder, as a shell would expand it."""
    seen: set[str] = set()
    if "**" not in pattern:
        matches = sorted(glob.glob(pattern), key=lambda match: Path(match).parts)
        files: list[str] = []
        for match in matches:
            if os.path.isdir(match):
                files += walk(match, seen)
            elif is_image_name(os.path.basename(match)):
                files.append(match)
        return files
    folder = _fixed_part(pattern)  # searched here, since glob's ** follows link loops
    depth = len(folder.parts)
    wanted = Path(pattern).parts[depth:]
    inside = walk(str(folder), seen) if os.path.isdir(folder) else ()
    return [file for file in inside if _fits(Path(file).parts[depth:], wanted)]


def _fixed_part(pattern: str) -> Path:
    """The folder before the first part with a wildcard."""
    folder = Path(pattern)
    while glob.has_magic(str(folder)):
        folder = folder.parent
    return folder


def _fits(parts: Sequence[str], pattern: Sequence[str]) -> bool:
    """Return whether a relative path matches a pattern, or is below a folder that does."""
    if not pattern:
        return True
    if pattern[0] == "**":
        return any(_fits(parts[i:], pattern[1:]) for i in range(len(parts)))
    return bool(parts) and fnmatch.fnmatch(parts[0], pattern[0]) and _fits(parts[1:], pattern[1:])

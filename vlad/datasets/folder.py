"""Find images by files, folders and patterns."""

from __future__ import annotations

import fnmatch
import glob
import os
import warnings
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

from vlad.datasets.ids import with_ids
from vlad.errors import InputError
from vlad.images.decode import is_image_name
from vlad.system.text import and_more
from vlad.types import Sample

Paths = str | os.PathLike | Iterable[str | os.PathLike]


def list_images(paths: Paths) -> list[Sample]:
    """List the images of files, folders and patterns, each file once.

    Args:
        paths: one or several of: a file with any suffix; a folder, searched recursively; a pattern
            with `*`, `?`, `[]` or `**`. Folders and patterns find only files with an image suffix,
            without hidden ones; a UserWarning counts the others. The order is that of the
            arguments, then sorted by path.

    Raises:
        InputError: no paths, or a path that does not exist or has no image.
    """
    passed: list[str] = []
    found = find_images(one_or_many(paths), passed)
    warn_of_passed(passed)
    return with_ids(found)


def warn_of_passed(
    files: Sequence[object], why: str = "without an image suffix; convert images among them to PNG"
) -> None:
    """Warn once of the files that get no result."""
    if files:
        many = "s" * (len(files) > 1)
        warnings.warn(
            f"{len(files)} file{many} passed over ({why}): {and_more(files, 3)}", stacklevel=3
        )


def one_or_many(paths: Paths) -> list[str | os.PathLike]:
    """`paths` as a list; raise an InputError if empty."""
    paths = [paths] if isinstance(paths, str | os.PathLike) else list(paths)
    if not paths:
        raise InputError("`paths` is empty; give files, folders, patterns or a manifest.")
    return paths


def find_images(paths: Iterable[str | os.PathLike], passed: list[str]) -> list[tuple[Sample, Path]]:
    """Each image, without an id yet, and the folder it was found in.

    Args:
        passed: receives the files that are passed over.
    """
    found = []
    for path in paths:
        folder, files = _expand(os.path.expanduser(os.fspath(path)), passed)
        found += [(Sample(Path(file), id=""), folder) for file in files]
    return found


def _expand(text: str, passed: list[str]) -> tuple[Path, list[str]]:
    if os.path.isdir(text):
        files = list(walk(text, passed))
        if not files:
            raise InputError(
                f"no images in {text}; give files with a suffix such as .png, .jpg or .tif."
            )
        return Path(text), files
    if os.path.lexists(text):
        return Path(text).parent, [text]
    if not glob.has_magic(text):
        raise InputError(f"there is no file or folder {text}; check the path.")
    files = _match(text, passed)
    if not files:
        raise InputError(f"no image matches {text}; check the pattern.")
    return _fixed_part(text), files


def walk(folder: str, passed: list[str], seen: set[str] | None = None) -> Iterator[str]:
    """Images below a folder, sorted by path; `seen` breaks loops of links.

    Args:
        passed: receives the other files.

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
            else:
                passed.append(path)
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


def _match(pattern: str, passed: list[str]) -> list[str]:
    """Images that match, or are in a matching folder, as a shell would expand it."""
    seen: set[str] = set()
    if "**" not in pattern:
        matches = sorted(glob.glob(pattern), key=lambda match: Path(match).parts)
        files: list[str] = []
        for match in matches:
            if os.path.isdir(match):
                files += walk(match, passed, seen)
            else:
                (files if is_image_name(os.path.basename(match)) else passed).append(match)
        return files
    folder = _fixed_part(pattern)  # searched here, since glob's ** follows link loops
    depth = len(folder.parts)
    wanted = Path(pattern).parts[depth:]
    others: list[str] = []
    inside = list(walk(str(folder), others, seen)) if os.path.isdir(folder) else []
    passed += (file for file in others if _fits(Path(file).parts[depth:], wanted))
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

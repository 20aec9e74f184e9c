"""Image ids: short, unique, and safe as relative file names on every system."""

from __future__ import annotations

import hashlib
import os
import re
import unicodedata
from collections import defaultdict
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import takewhile
from pathlib import Path

from vlad.types import Sample

LONGEST = 220  # bytes of a name, of the 255 that most systems allow, to leave room for suffixes
_RESERVED = re.compile(r"(con|prn|aux|nul|com\d|lpt\d)(\.|$)", re.IGNORECASE)  # Windows devices
_FORBIDDEN = re.compile(r'[<>:"/\\|?*\x00-\x1f\x7f\ud800-\udfff]')


def with_ids(found: Iterable[tuple[Sample, Path]]) -> list[Sample]:
    """Drop repeated files and set each sample's id: its path below their common folder.

    Ids have no suffix and depend on the set of files, not their order. If two would be equal
    (ignoring case), they keep the suffix; if that does not help, a digest of the path is added.

    Args:
        found: each sample with the folder it was found in, which is above it; the common folder is
            the deepest one above all of these.
    """
    samples, folders = _distinct(found)
    roots = [_parts(folder) for folder in folders]
    levels = zip(*roots, strict=False)
    shared = sum(1 for _ in takewhile(lambda names: len(set(names)) == 1, levels))
    parts = [_parts(sample.path)[shared:] for sample in samples]
    level = [0] * len(samples)
    while True:
        ids = [_id(*pair) for pair in zip(parts, level, strict=True)]
        groups = defaultdict(list)
        for i, name in enumerate(ids):
            groups[comparable(name)].append(i)
        clashes = [group for group in groups.values() if len(group) > 1]
        if not clashes:
            return [replace(s, id=name) for s, name in zip(samples, ids, strict=True)]
        for group in clashes:
            lowest = min(level[i] for i in group)
            for i in group:
                level[i] += level[i] == lowest


def possible_ids(parts: tuple[str, ...]) -> list[str]:
    """The ids that `with_ids` may have given a file, from its path below their common folder."""
    return [_id(parts, level) for level in range(3)]


def ids_again(paths: Iterable[str], root: str, used: Callable[[str, str], bool]) -> dict[str, str]:
    """Path -> id of each file, whether they were listed all at once or one by one.

    Args:
        root: real path of the folder that ids are relative to.
        used: (path, id) -> whether a result with this id may belong to this path.
    """
    parts = parts_below(paths, root)
    files = {Path(root, *below): path for path, below in parts.items()}
    together = with_ids((Sample(file, ""), Path(root)) for file in files)
    likely = {files[sample.path]: sample.id for sample in together}
    ids: dict[str, str] = {}
    taken: set[str] = set()
    # files without results come last, so that they take no id of the others
    for allowed in (used, lambda path, name: True):
        for path, below in parts.items():
            names = [likely[path]] if path in likely else []
            for name in [*names, *possible_ids(below)] if path not in ids else []:
                if comparable(name) not in taken and allowed(path, name):
                    ids[path] = name
                    taken.add(comparable(name))
                    break
    return {path: ids.get(path) or possible_ids(below)[-1] for path, below in parts.items()}


def parts_below(paths: Iterable[str], root: str) -> dict[str, tuple[str, ...]]:
    """Path -> its parts below the folder, by the names of links, not of their targets."""
    depths: dict[Path, int | None] = {}  # parts of a folder that spell the root
    found = {}
    for path in paths:
        named = Path(os.path.abspath(path))
        if named.parent not in depths:
            above = [*reversed(named.parents)]
            real = (n for n, folder in enumerate(above, 1) if os.path.realpath(folder) == root)
            depths[named.parent] = next(real, None)
        depth = depths[named.parent]
        resolved = Path(os.path.relpath(os.path.realpath(path), root)) if depth is None else named
        found[path] = resolved.parts[depth:]
    return found


def comparable(name: str) -> str:
    """A key that is equal for names that some file system considers the same."""
    return unicodedata.normalize("NFC", name).casefold()


def _distinct(found: Iterable[tuple[Sample, Path]]) -> tuple[list[Sample], set[Path]]:
    """The first sample of each file, links resolved, and the folders."""
    real_folders: dict[str, str] = {}
    samples: dict[str, Sample] = {}
    folders: set[Path] = set()
    for sample, folder in found:
        parent, name = os.path.split(sample.path)
        if parent not in real_folders:
            real_folders[parent] = os.path.realpath(parent)
        real = os.path.join(real_folders[parent], name)
        samples.setdefault(os.path.realpath(real) if os.path.islink(real) else real, sample)
        folders.add(folder)
    return list(samples.values()), folders


def _parts(path: Path) -> tuple[str, ...]:
    return Path(os.path.abspath(path)).parts


def _id(parts: tuple[str, ...], level: int) -> str:
    *folders, name = parts
    name = Path(name).stem if level == 0 else name
    if level > 1:
        name += "~" + hashlib.sha1(os.fsencode("/".join(parts))).hexdigest()[:8]
    return "/".join(_safe(part) for part in (*folders, name))


def _safe(part: str) -> str:
    part = _FORBIDDEN.sub("_", part)
    part = re.sub(r"[. ]+$", lambda match: "_" * len(match[0]), part)
    part = "_" + part if _RESERVED.match(part) else part
    whole = part.encode()
    if len(whole) <= LONGEST:
        return part
    return whole[:LONGEST].decode(errors="ignore") + "~" + hashlib.sha1(whole).hexdigest()[:8]

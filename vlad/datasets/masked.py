"""Images sorted into folders by kind, and the masks that belong to them."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

from vlad.datasets.layout import images, is_normal, named, warn_of_masks
from vlad.errors import InputError
from vlad.types import Sample

_WORDS = r"(?:mask|gt|ground[-_. ]?truth|label|seg(?:mentation)?|annotation)s?"
_AFFIXES = re.compile(rf"^{_WORDS}[-_. ]+|[-_. ]*{_WORDS}$", re.IGNORECASE)


def normals(folder: Path) -> list[Sample]:
    """The images below a folder, as normal."""
    return [Sample(path, id="", label=0, defect="good") for path in images(folder)]


def labelled(kinds: Sequence[Path], truth: Path) -> list[Sample]:
    """`matched`, with a warning of the masks that match no image."""
    samples = matched(kinds, truth)
    warn_of_masks(truth, samples)
    return samples


def matched(kinds: Sequence[Path], truth: Path) -> list[Sample]:
    """The images of folders of normal images, and of one kind of defect each, still without id.

    Args:
        truth: folder with a folder of masks for each kind of defect; those of a single kind may
            lie in it. A mask is named as its image, with or without "_mask" or another such
            word, or is a folder of that name.

    Raises:
        InputError: two images share a mask.
    """
    bad = [kind for kind in kinds if not is_normal(kind.name)]
    samples = []
    for kind in kinds:
        if kind not in bad:
            samples += normals(kind)
            continue
        masks = truth / kind.name
        masks = masks if os.path.isdir(masks) else named(truth, kind.name.casefold())
        masks = masks if os.path.isdir(masks) or len(bad) > 1 else truth
        found = _matched(images(kind), kind, masks)
        samples += [Sample(p, "", label=1, defect=kind.name, mask=m) for p, m in found.items()]
    return samples


def _matched(paths: Sequence[Path], folder: Path, truth: Path) -> dict[Path, Path | None]:
    """Image below one folder -> its mask below another."""
    names = {path: _name(path, folder) for path in paths}
    masks = _masks(truth, set(names.values()))
    times = Counter(names.values())
    alone = Counter(path.stem for path in paths)
    found: dict[Path, Path | None] = {}
    for path, name in names.items():
        if times[name] > 1:  # told apart by the suffix, or not at all
            found[path] = masks.get(path.relative_to(folder).as_posix())
        else:
            likely = [name, name.casefold(), *[path.stem] * (alone[path.stem] == 1)]
            found[path] = next((masks[key] for key in likely if key in masks), None)
    for name, count in times.items():
        same = [path for path in paths if names[path] == name]
        if count > 1 and name in masks and not any(found[path] for path in same):
            raise InputError(
                f"{same[0]} and {same[1]} share the mask {masks[name]}; rename one of them, and "
                "its mask."
            )
    return found


def _masks(truth: Path, names: set[str]) -> dict[str, Path]:
    """What a mask may be called by -> mask; the surer of two names counts."""
    loose, whole, exact, known = {}, {}, {}, {}
    for path in images(truth):
        name = _name(path, truth)
        above = path.relative_to(truth).parent.as_posix()
        if above in names:  # a folder of masks
            exact[above] = path.parent
            continue
        stem = path.stem
        core = _AFFIXES.sub("", stem)
        loose[_joined(above, core or stem).casefold()] = path
        whole[path.relative_to(truth).as_posix()] = path
        exact[name] = path
        if stem.endswith("_mask"):
            known[_joined(above, stem.removesuffix("_mask"))] = path
    return loose | exact | whole | known


def _name(path: Path, folder: Path) -> str:
    """A path below a folder, without the suffix."""
    return path.relative_to(folder).with_suffix("").as_posix()


def _joined(folder: str, name: str) -> str:
    return name if folder == "." else f"{folder}/{name}"

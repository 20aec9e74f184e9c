"""Labels of several people as one label an image."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from vlad.errors import InputError
from vlad.review.labels import Label, last_of_each
from vlad.system.text import and_more, counted, shown


def joined(files: Mapping[str, Sequence[Label]]) -> list[Label]:
    """The labels of several files: of each person the last about each image.

    Args:
        files: name -> labels. Those of nobody get the name of their file in place of a person's.
    """
    return last_of_each(
        label if label.by else replace(label, by=name)
        for name, labels in files.items()
        for label in labels
    )


def settled(labels: Sequence[Label], prefer_latest: bool = False) -> list[Label]:
    """One label of each image: the latest, with the kind that any of them gives.

    Args:
        prefer_latest: whether the latest also decides between labels that contradict each other.

    Raises:
        InputError: labels contradict each other, or a latest one cannot be told.
    """
    groups = about_each(labels)
    found = [group for group in groups if contradict(group)]
    if found and not prefer_latest:
        raise InputError(
            f"{counted(len(found), 'image')} with labels that contradict each other: "
            f"{and_more([in_words(group) for group in found], 3)}; correct them, or let `vlad "
            "review merge` prefer the latest."
        )
    if timeless := [group for group in found if any(label.time is None for label in group)]:
        raise InputError(
            f"no latest label of {and_more([in_words(group) for group in timeless], 3)}, since one "
            "has no time; correct the labels, or fill in the times."
        )
    return [_settled(group) for group in groups]


def about_each(labels: Sequence[Label]) -> list[list[Label]]:
    """The labels of each image: those of one path, or of one content."""
    roots: dict[tuple[str, str], tuple[str, str]] = {}

    def root(key: tuple[str, str]) -> tuple[str, str]:
        while roots.setdefault(key, key) != key:
            key = roots[key]
        return key

    for label in labels:
        if label.digest:
            roots[root(("digest", label.digest))] = root(("path", label.path))
    groups: dict[tuple[str, str], list[Label]] = {}
    for label in labels:
        groups.setdefault(root(("path", label.path)), []).append(label)
    return list(groups.values())


def contradict(group: Sequence[Label]) -> bool:
    """Whether labels of one image differ in more than that some give no kind."""
    kinds = {label.kind for label in group if label.kind}
    return len({label.label for label in group}) > 1 or len(kinds) > 1


def in_words(group: Sequence[Label]) -> str:
    """The labels of an image, and who said each: a.png (good by anna, defective by ben)."""
    said = [
        " ".join(filter(None, (label.label, label.kind, f"by {label.by}" if label.by else "")))
        for label in group
    ]
    return shown(f"{group[-1].path} ({', '.join(said)})")


def _settled(group: Sequence[Label]) -> Label:
    timed = [(label.time, place) for place, label in enumerate(group) if label.time]
    last = group[max(timed)[1]] if timed else group[-1]
    if not last.defective or last.kind:
        return last
    return replace(last, kind=next((x.kind for x in group if x.kind and x.defective), ""))

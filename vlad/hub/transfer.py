"""Detectors and adapters sent to the model hub, and fetched from it."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from shlex import quote

from vlad.adapters import CARD as ADAPTER_CARD
from vlad.adapters import FILE, adapters_folder, find_adapter, identity
from vlad.adapters.cards import read_card, read_checked
from vlad.detector.files import WEIGHTS
from vlad.detector.replacing import replace_files
from vlad.detector.saved import read_detector
from vlad.errors import AdapterError, HubError, InputError, OutputError
from vlad.hub.card import card
from vlad.hub.files import check_kind, is_weights, known
from vlad.hub.place import beside, placed
from vlad.hub.repository import CARD, check_only, fetch, look, open_or_create, send
from vlad.system.text import shown


@dataclass(frozen=True)
class Moved:
    """What was sent or fetched.

    Attributes:
        commit: hash of the commit in the repository.
        files: paths, sorted.
        passed_over: paths of the source that were left out, sorted.
        folder: where they were fetched to, or sent from.
        version: number under which the detector that they replaced is kept, if any.
    """

    commit: str
    files: list[str]
    passed_over: list[str]
    folder: Path
    version: int | None = None


def push_detector(
    folder: Path,
    repository: str,
    facts: Iterable[tuple[str, str]],
    *,
    licence: str | None = None,
    with_weights: bool = False,
    public: bool = False,
    overwrite: bool = False,
) -> Moved:
    """Send a saved detector to a repository of the hub.

    Args:
        facts: about it, for the card.
        licence: for the card.
        with_weights: whether the backbone inside it is sent too.
        public: whether others may see it.
        overwrite: whether a detector that is there is replaced; the hub keeps its history.

    Raises:
        HubError: its backbone is inside and not to be sent, or a file of this machine; it changed
            meanwhile; the repository holds something else; or as `vlad.hub.explain.explained`.
        InputError: there is no detector in `folder`.
    """
    paths = _state(folder)
    saved = read_detector(folder)
    check_kind(str(folder), paths, "detector")
    files = known(paths, "detector")
    inside = [path for path in files if is_weights(path)]
    place = saved.settings["backbone"].rpartition("=")[2]
    if inside and not with_weights:
        raise HubError(
            f"{folder} holds its backbone, without which it is not whole; give `with_weights` if "
            "its licence allows that, or fit it without."
        )
    if not inside and os.path.exists(place):
        raise HubError(
            f"The backbone of {folder} is a file of this machine ({place}); fit the detector with "
            "`with_weights`, so that it is inside."
        )
    commands = (
        f"vlad detector pull {repository} mine",
        "vlad score parts/ --detector mine --out run",
    )
    text = card("detector", repository, facts, licence, commands)
    commit = _push("detector", repository, folder, paths, text, public, overwrite)
    return Moved(commit, files, sorted(paths.keys() - set(files)), folder)


def push_adapter(
    name: str,
    repository: str,
    *,
    licence: str | None = None,
    public: bool = False,
    overwrite: bool = False,
) -> Moved:
    """Send an adapter, given by name or folder, to a repository of the hub.

    Args:
        licence: for the card; None is that of the adapter's own card.

    Raises:
        AdapterError: there is none, or it differs from its card.
        HubError: as `push_detector`.
    """
    file = find_adapter(name)
    folder = file.parent
    paths = _state(folder)
    check_kind(str(folder), paths, "adapter")
    adapter = read_checked(folder / FILE)  # the one that is sent, whichever was named
    stated = read_card(folder / ADAPTER_CARD)
    facts = [
        ("head", adapter.head),
        ("backbone", adapter.backbone),
        ("trained on", adapter.auxiliary),
        ("source", stated["source"]),
        ("SHA-256", adapter.sha256),
    ]
    if licence is None and stated["licence"] != "not stated":
        licence = stated["licence"]
    commands = (
        f"vlad adapters pull {repository}",
        f"vlad score parts/ --backbone {quote(adapter.backbone)} --head {adapter.head} "
        f"--adapter {_short(repository)} --out run",
    )
    text = card("adapter", repository, facts, licence, commands)
    files = known(paths, "adapter")
    commit = _push("adapter", repository, folder, paths, text, public, overwrite)
    return Moved(commit, files, sorted(paths.keys() - set(files)), folder)


def pull_detector(repository: str, folder: Path, *, overwrite: bool = False) -> Moved:
    """Fetch a detector from a repository of the hub, check it, and put it into a folder.

    Args:
        overwrite: whether a detector that is in the folder is replaced; it is kept there as a
            version (see `vlad.detector.versions`).

    Raises:
        HubError: the repository holds no detector, or a damaged one; or as `explained`.
        OutputError: the folder has other files, or a detector that is not to be replaced, or cannot
            be written.
    """
    if not (folder / "detector.json").exists():
        with placed(folder) as new:
            moved = _pull_detector(repository, new)
        return replace(moved, folder=folder)
    if not overwrite:
        raise OutputError(
            f"{folder} holds a detector already; give `overwrite` to replace it, which keeps it as "
            "a version, or choose another folder."
        )
    with beside(folder) as new:
        moved = _pull_detector(repository, new)
        number = replace_files(folder, new, lambda _: None)
    return replace(moved, folder=folder, version=number)


def pull_adapter(repository: str, folder: Path | None = None) -> Moved:
    """Fetch an adapter from a repository of the hub, check it, and put it into a new folder.

    Args:
        folder: None is one of the repository's name among the user's adapters.

    Raises:
        HubError: the repository holds no adapter, a damaged one, or one that differs from its card;
            or as `explained`.
        OutputError: the folder has files or cannot be written.
    """
    folder = folder or adapters_folder() / _short(repository)
    with placed(folder) as new:
        moved = _pull("adapter", repository, new)
        with _sound("adapter", repository):
            read_checked(new / FILE)
    return replace(moved, folder=folder)


def _push(
    kind: str,
    repository: str,
    folder: Path,
    paths: Mapping[str, object],
    text: bytes,
    public: bool,
    overwrite: bool,
) -> str:
    before = open_or_create(repository, public)
    if before.files:
        check_kind(repository, before.files, kind)
        check_only(repository, before.files, known(before.files, kind), kind)
        if not overwrite:
            raise HubError(
                f"{repository} holds a {kind} already; give `overwrite` to replace it there, or "
                "name another repository."
            )
    files = {path: folder / path for path in known(paths, kind)}

    def check() -> None:
        now = _state(folder)
        if any(now.get(path) != paths[path] for path in files):
            raise HubError(f"{folder} was replaced while it was sent; repeat the command.")

    sources: Mapping[str, Path | bytes] = {CARD: text, **files}
    return send(repository, before, sources, f"{kind.capitalize()} sent by vlad", check)


def _pull_detector(repository: str, folder: Path) -> Moved:
    moved = _pull("detector", repository, folder)
    with _sound("detector", repository):
        saved = read_detector(folder)
    place = saved.settings["backbone"].rpartition("=")[2]
    if Path(place).is_relative_to(folder / WEIGHTS) and not os.path.exists(place):
        raise HubError(
            f"The detector of {repository} lacks its backbone; ask its owner to push it with "
            "`with_weights`."
        )
    return moved


def _pull(kind: str, repository: str, folder: Path) -> Moved:
    contents = look(repository)
    check_kind(repository, contents.files, kind)
    files = known(contents.files, kind)
    fetch(repository, contents, files, folder)
    return Moved(contents.commit, files, sorted(contents.files.keys() - set(files)), folder)


@contextmanager
def _sound(kind: str, repository: str) -> Iterator[None]:
    try:
        yield
    except (InputError, AdapterError) as error:
        raise HubError(
            f"{repository} holds a damaged {kind} ({shown(error)}); ask its owner for another."
        ) from error


def _state(folder: Path) -> dict[str, tuple[int, int, int]]:
    """What tells whether files in a folder are replaced, by path in it; not of its lock."""
    files = (path for path in folder.rglob("*") if path.is_file() and path.name != ".lock")
    return {file.relative_to(folder).as_posix(): identity(file) for file in files}


def _short(repository: str) -> str:
    return repository.rpartition("/")[2]

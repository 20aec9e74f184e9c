"""A repository of the model hub: what it holds, files sent to it, files fetched from it."""

from __future__ import annotations

import hashlib
import shutil
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from vlad.errors import HubError
from vlad.hub.explain import check_name, explained
from vlad.system.files import file_sha256
from vlad.system.text import and_more, shown

if TYPE_CHECKING:
    from huggingface_hub import HfApi

CARD = "README.md"  # which the hub shows as the card of a model
_OF_THE_HUB = (CARD, ".gitattributes")


@dataclass(frozen=True)
class Contents:
    """What a repository holds.

    Attributes:
        commit: hash of the commit.
        private: whether it is closed to others.
        files: path -> digest of each file, but for those of the hub itself: SHA-256, or git's hash
            (SHA-1) for those in git.
    """

    commit: str
    private: bool
    files: Mapping[str, str]


def look(repository: str) -> Contents:
    """What a repository holds now.

    Raises:
        HubError: as `vlad.hub.explain.explained`.
    """
    from huggingface_hub.hf_api import RepoFile

    check_name(repository)
    with explained(repository):
        hub = _hub()
        info = hub.model_info(repository)
        entries = hub.list_repo_tree(repository, recursive=True, revision=info.sha)
        files = {
            entry.path: entry.lfs.sha256 if entry.lfs else entry.blob_id
            for entry in entries
            if isinstance(entry, RepoFile) and entry.path not in _OF_THE_HUB
        }
        return Contents(str(info.sha), bool(info.private), files)


def open_or_create(repository: str, public: bool) -> Contents:
    """What a repository holds, which is created if there is none.

    Args:
        public: whether others may see it; it is private otherwise.

    Raises:
        HubError: it is public and was not to be or the other way round, or as
            `vlad.hub.explain.explained`.
    """
    check_name(repository)
    with explained(repository):
        if not _hub().repo_exists(repository):
            _hub().create_repo(repository, private=not public)
    found = look(repository)
    if not (found.private or public):
        raise HubError(
            f"{repository} is public, so all can see what is in it; give `public`, or name another "
            "repository."
        )
    if found.private and public:
        raise HubError(
            f"{repository} is private; make it public in its settings on the hub, or leave out "
            "`public`."
        )
    return found


def send(
    repository: str,
    before: Contents,
    files: Mapping[str, Path | bytes],
    message: str,
    check: Callable[[], None],
) -> str:
    """Make files the content of a repository, in one commit; return its hash.

    Args:
        before: what the repository holds, all of which is replaced.
        check: called before anything is sent; what is sent are the files as they were before it.

    Raises:
        HubError: it has changed since, or as `vlad.hub.explain.explained`.
    """
    from huggingface_hub import CommitOperationAdd, CommitOperationDelete

    with explained(repository):
        gone = [CommitOperationDelete(path) for path in sorted(before.files.keys() - files.keys())]
        added = [CommitOperationAdd(path, _held(source)) for path, source in files.items()]
        check()
        done = _hub().create_commit(
            repository, [*gone, *added], commit_message=message, parent_commit=before.commit
        )
        return done.oid


def _held(source: Path | bytes) -> Path | bytes:
    """The content of a small file, which the client would read last, after all uploads.

    It takes the digest of a large one at once, and the hub refuses other bytes.
    """
    if isinstance(source, bytes) or source.suffix == ".safetensors":
        return source
    return source.read_bytes()


def fetch(repository: str, contents: Contents, paths: Iterable[str], folder: Path) -> None:
    """Download files of a repository and check their digests.

    Args:
        folder: an existing one; what a failed download leaves in it is of no use.

    Raises:
        HubError: a file has another digest, or as `vlad.hub.explain.explained`.
    """
    for path in paths:
        with explained(repository, folder.parent):
            _hub().hf_hub_download(repository, path, revision=contents.commit, local_dir=folder)
        if _digest(folder / path, contents.files[path]) != contents.files[path]:
            raise HubError(
                f"{shown(path)} of {repository} arrived with another digest than the hub states; "
                "repeat the command."
            )
    shutil.rmtree(folder / ".cache", ignore_errors=True)  # of the hub client


def check_only(repository: str, found: Iterable[str], known: Iterable[str], what: str) -> None:
    """Check that a repository holds nothing but `known`, as all of it is replaced.

    Raises:
        HubError: it holds other files.
    """
    if others := sorted(set(found) - set(known)):
        raise HubError(
            f"{repository} holds files that no {what} has ({and_more([*map(shown, others)])}); "
            "name another repository."
        )


def _hub() -> HfApi:
    from huggingface_hub import HfApi, constants

    return HfApi(endpoint=constants.ENDPOINT, library_name="vlad")


def _digest(file: Path, like: str) -> str:
    """SHA-256 of a file, or git's SHA-1 if `like` is one."""
    if len(like) == 64:
        return file_sha256(file)
    content = file.read_bytes()  # small, as it is in git
    return hashlib.sha1(b"blob %d\0" % len(content) + content, usedforsecurity=False).hexdigest()

"""What the local cache of the model hub holds of a repository."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

INDEX = ("model.safetensors.index.json", "pytorch_model.bin.index.json")
# of a tokenizer: what it is made of, and the last that transformers asks for
TOKENIZER = ("tokenizer.json", "special_tokens_map.json")


def folder_of(repository: str) -> Path | None:
    """The folder in the cache with the files of a repository; None if there is none."""
    from huggingface_hub import constants
    from huggingface_hub.file_download import repo_folder_name

    name = repo_folder_name(repo_id=repository, repo_type="model")
    root = Path(constants.HF_HUB_CACHE, name)
    try:
        folder = root / "snapshots" / (root / "refs" / "main").read_text(encoding="utf-8")
    except OSError:
        return None
    return folder if folder.is_dir() else None


def path_of(repository: str, file: str) -> Path | None:
    """The path of a file in the cache; None if it is not there."""
    found = _entry(repository, file)
    return Path(found) if isinstance(found, str) else None


def are_known(repository: str, files: Iterable[str]) -> bool:
    """Return whether each file is in the cache, or known to be none of the repository's."""
    return all(_entry(repository, file) is not None for file in files)


def has_one(repository: str, files: Iterable[str]) -> bool:
    """Return whether one of the files is in the cache; of weights in shards, all of these."""
    found = ((file, path_of(repository, file)) for file in files)
    return any(
        path and (file not in INDEX or all(path_of(repository, shard) for shard in _shards(path)))
        for file, path in found
    )


def _shards(index: Path) -> set[str]:
    try:
        return set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
    except (OSError, ValueError, LookupError, TypeError, AttributeError):  # the load will tell
        return set()


def _entry(repository: str, file: str) -> object:
    from huggingface_hub import constants, try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        return try_to_load_from_cache(repository, file, constants.HF_HUB_CACHE)
    except HFValidationError:  # no name of the hub, such as a mistyped folder
        return None

"""Backbones that are usable without a network: those with weights on this disk."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from vlad.backbones.cached import path_of
from vlad.errors import BackboneError
from vlad.system.resources import read_json

OPEN_CLIP_CACHE = Path("~/.cache/clip")  # for downloads from outside the model hub


@dataclass(frozen=True)
class StoredBackbone:
    """A backbone with weights on this disk.

    Attributes:
        name: the value for `--backbone`.
        path: the file or folder of its weights.
        size: in bytes.
    """

    name: str
    path: Path
    size: int


def stored_backbones() -> list[StoredBackbone]:
    """The built-in backbone and those in the local caches of open_clip and transformers."""
    from huggingface_hub import constants

    from vlad.backbones import EMBEDDED

    built_in = [_of_file(name, path) for name, path in EMBEDDED.items()]
    caches = (Path(constants.HF_HUB_CACHE), OPEN_CLIP_CACHE.expanduser())
    if not any(cache.is_dir() for cache in caches):
        return built_in  # both libraries take seconds to import
    return [*built_in, *_of_open_clip(), *_of_hub()]


def _of_file(name: str, path: Path) -> StoredBackbone:
    return StoredBackbone(name, path, path.stat().st_size)


def _of_open_clip() -> Iterator[StoredBackbone]:
    import open_clip

    for model, tag in open_clip.list_pretrained():
        path = file_of(open_clip.get_pretrained_cfg(model, tag))
        if path is not None:
            yield _of_file(f"{model}/{tag}", path)


def file_of(source: dict) -> Path | None:
    """The path of a pretrained file in open_clip's cache; None if it is not there."""
    repository, files = files_of(source)
    if not repository:  # else open_clip ignores the address
        path = OPEN_CLIP_CACHE.expanduser() / source.get("url", "").rpartition("/")[2]
        return path if path.is_file() else None
    return next(filter(None, (path_of(repository, name) for name in files)), None)


def files_of(source: dict) -> tuple[str, list[str]]:
    """The repository of a pretrained model ("" for none) and its files by preference."""
    from open_clip.constants import HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME

    repository, _, file = source.get("hf_hub", "").rpartition("/")
    if not file:
        return repository, [HF_SAFE_WEIGHTS_NAME, HF_WEIGHTS_NAME]
    return repository, [str(Path(file).with_suffix(".safetensors")), file]


def _of_hub() -> Iterator[StoredBackbone]:
    """Models of transformers, and of timm, which keeps no config there."""
    from huggingface_hub import constants, scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    from vlad.backbones import transformers
    from vlad.backbones.transformers.kinds import KINDS

    try:
        repositories = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except CacheNotFound:
        return
    for repository in sorted(repositories, key=lambda found: found.repo_id):
        files = {f.file_name: f for revision in repository.revisions for f in revision.files}
        weights = [f for name, f in files.items() if name.endswith((".safetensors", ".bin"))]
        size = sum(f.size_on_disk for f in weights)
        stored = StoredBackbone(repository.repo_id, repository.repo_path, size)
        if not weights or repository.repo_type != "model":
            continue
        # as loading asks: another program may have left other files, or damaged ones
        with suppress(BackboneError, OSError, ValueError, AttributeError, TypeError):
            if repository.repo_id.startswith("timm/"):
                from vlad.backbones import timm

                if timm.is_stored(repository.repo_id):
                    yield stored
            elif transformers.is_stored(repository.repo_id):
                config = read_json(path_of(repository.repo_id, "config.json") or Path())
                if config.get("model_type") in KINDS:
                    yield stored

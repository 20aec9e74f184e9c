"""Any repository of the model hub in the layout of open_clip, timm or transformers."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from vlad.backbones import cached, clip, network
from vlad.backbones.backbone import Backbone
from vlad.backbones.fetch import WEIGHTS, parts_of
from vlad.errors import BackboneError
from vlad.types import BackboneInfo

PREFIX = "hf-hub:"  # as open_clip and timm spell it
TOKENIZER = ("tokenizer.json", "tokenizer_config.json")


def repository(name: str) -> str | None:
    """The repository."""
    return name


def is_stored(name: str) -> bool:
    """Return whether configuration and weights of a repository are in the local cache."""
    config = cached.has_one(name, (clip.CONFIG, "config.json"))
    return config and cached.has_one(name, (*clip.FILES, *WEIGHTS, *cached.INDEX))


def describe(name: str) -> BackboneInfo:
    """The description for heads, from the configuration alone, without weights.

    Raises:
        BackboneError: as `from_hub`, of the configuration.
    """
    from vlad.backbones import is_timm_folder

    title = PREFIX + name
    with network.from_network(title, whole=is_stored(name), what="configuration"):
        stored = cached.folder_of(name) if is_stored(name) else None
        folder = stored or _download(name, small=True)
    with network.from_network(title, local=True, what="configuration"):
        if (folder / clip.CONFIG).is_file():
            from vlad.backbones.open_clip import describe_config

            return describe_config(title, clip.read_config(folder / clip.CONFIG)["model_cfg"])
        if is_timm_folder(folder):
            from vlad.backbones.timm import describe_folder

            return describe_folder(folder, title)
        from vlad.backbones import transformers

        return replace(transformers.describe(name if stored else str(folder)), name=title)


def from_hub(name: str) -> Backbone:
    """The backbone of a repository, from the local cache or the model hub.

    Raises:
        BackboneError: files that cannot be downloaded or loaded.
    """
    if is_stored(name):
        try:
            return _load(name, cached.folder_of(name) or Path())
        except BackboneError:  # perhaps a download was interrupted
            if network.is_offline() or not network.hub_answers():
                raise
    with network.from_network(PREFIX + name):
        _download(name, small=True)  # so that weights in the cache tell that all is there
        folder = _download(name)
    return _load(name, folder)


def _load(name: str, folder: Path) -> Backbone:
    from vlad.backbones import is_timm_folder

    if (folder / clip.CONFIG).is_file():
        there = any((folder / file).is_file() for file in TOKENIZER)
        made = clip.from_folder(folder, folder if there else None)
    elif is_timm_folder(folder):
        from vlad.backbones import timm

        made = timm.from_folder(folder)
    else:
        from vlad.backbones import transformers

        made = transformers.from_hub(name)  # which knows what the cache may lack
    made.info = replace(made.info, name=PREFIX + name)
    return made


def _download(name: str, small: bool = False) -> Path:
    """The folder of the repository in the local cache, perhaps without its weights."""
    from huggingface_hub import HfApi, snapshot_download

    if network.is_offline():
        raise FileNotFoundError(name)
    (part,), _ = parts_of(PREFIX + name)
    part = replace(part, weights=()) if small else part
    files = part.choose(HfApi().list_repo_files(name))
    return Path(snapshot_download(name, allow_patterns=files))

"""The files of a backbone of a model hub, in one folder that needs neither cache nor network."""

from __future__ import annotations

import json
import os
from collections.abc import Collection
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vlad.backbones import cached, clip, load_backbone, remote_source
from vlad.backbones.downloads import check
from vlad.backbones.network import from_network
from vlad.errors import BackboneError
from vlad.system.files import atomic_write
from vlad.system.text import shown

# what loading reads besides weights: configurations and tokenizers
SMALL = ("*.json", "*.txt", "*.model", "*.jsonl")
# weights of transformers and timm in the order of preference
WEIGHTS = (
    "model.safetensors", "model-*.safetensors", "pytorch_model.bin", "pytorch_model-*.bin",
)  # fmt: skip


@dataclass(frozen=True)
class Part:
    """Files of one repository.

    Attributes:
        weights: patterns, of which the first that a file matches is taken; none without weights.
        small: whether configurations and tokenizer belong to it.
        ignored: a file that does not belong to it.
    """

    repository: str
    weights: tuple[str, ...] = ()
    small: bool = True
    ignored: str = clip.CONFIG

    def choose(self, files: Collection[str]) -> list[str]:
        """Those of the files that belong to the part.

        Raises:
            BackboneError: none of them is a file of weights.
        """
        matching = ([f for f in files if fnmatch(f, pattern)] for pattern in self.weights)
        chosen = next(filter(None, matching), [])
        if self.weights and not chosen:
            raise BackboneError(
                f"{self.repository} has none of the files {', '.join(self.weights)}; choose "
                "another backbone."
            )
        small = (f for f in files if self.small and f != self.ignored and "/" not in f)
        return sorted({*chosen, *(f for f in small if any(fnmatch(f, end) for end in SMALL))})


def parts_of(name: str) -> tuple[list[Part], dict[str, Any]]:
    """What a backbone of a model hub is made of, and the JSON to write beside it, by file name.

    Raises:
        BackboneError: it is on this disk already, unknown, or from elsewhere.
    """
    found = remote_source(name)
    if found is None:
        raise BackboneError(f"{name} is on this disk already; copy it, or name one of a model hub.")
    source, rest = found
    repository = source.repository(rest)
    if repository is None:
        raise BackboneError(
            f"{name} is not on the model hub but at another address; leave out `to`, and load it "
            "once."
        )
    kind = source.__name__.rpartition(".")[2]
    if kind == "repository":
        return [Part(repository, (*clip.FILES, *WEIGHTS), ignored="")], {}
    if kind == "transformers":
        return [Part(repository, WEIGHTS)], {}
    # what its library knows of it, which is not always what its repository says
    config = source.folder_config(rest)
    if kind == "timm":
        return [Part(repository, WEIGHTS, small=False)], {"config.json": config}
    text = config["model_cfg"]["text_cfg"]
    if "hf_model_name" in text:
        raise BackboneError(
            f"open_clip reads a part of {name} from {text['hf_model_name']}, by that name only; "
            "use it from the local cache, or choose another backbone."
        )
    parts = [Part(repository, source.weights_names(rest), small=False)]
    if tokenizer := text.get("hf_tokenizer_name"):
        parts.append(Part(tokenizer))
    return parts, {clip.CONFIG: config}


def fetch_to(name: str, folder: Path) -> None:
    """Download a backbone into a folder that serves as `backbone` on a machine without a network.

    Args:
        name: a backbone of a model hub.
        folder: created if missing; files that are there are not downloaded again.

    Raises:
        BackboneError: as `parts_of`, weights that cannot be downloaded or loaded, or a folder that
            holds another backbone.
    """
    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    parts, configs = parts_of(name)
    with from_network(name, folder=folder):
        chosen: list[dict[str, RepoFile]] = []
        for part in parts:
            entries = HfApi().list_repo_tree(part.repository, recursive=True)
            known = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
            chosen.append({file: known[file] for file in part.choose(known)})
        _check_alone(folder, {*configs}.union(*chosen))
        for part, files in zip(parts, chosen, strict=True):
            snapshot_download(part.repository, local_dir=folder, allow_patterns=[*files])
            for file, entry in files.items():
                if entry.lfs:
                    check(folder / file, entry.lfs.sha256, part.repository)
    write_configs(configs, folder)
    load_backbone(str(folder), "cpu")  # a file that does not fit is said here, not elsewhere later


def _check_alone(folder: Path, files: Collection[str]) -> None:
    """Raise a BackboneError if a folder holds what loading would read beside these files."""
    patterns = (*SMALL, *WEIGHTS, *clip.FILES)
    there = sorted(os.listdir(folder)) if folder.is_dir() else []
    for name in there:
        if name not in files and any(fnmatch(name, pattern) for pattern in patterns):
            raise BackboneError(
                f"{folder} holds {shown(name)}, which is of another backbone; name another folder."
            )


def cached_files(name: str) -> tuple[list[Path], dict[str, Any]]:
    """The same files in the local cache, and the JSON to write beside them.

    Raises:
        BackboneError: as `parts_of`, or files that are not there.
    """
    parts, configs = parts_of(name)
    found: list[Path] = []
    for part in parts:
        folder = cached.folder_of(part.repository)
        if folder is None:
            raise BackboneError(
                f"The files of {name} are not in the local cache; give a folder as `backbone`, "
                "such as `vlad backbones fetch` writes."
            )
        found += (folder / file for file in part.choose(os.listdir(folder)))
    return found, configs


def write_configs(configs: dict[str, Any], folder: Path) -> None:
    """Write JSON files by their names."""
    for file, content in configs.items():
        atomic_write(folder / file, json.dumps(content, indent=2).encode())

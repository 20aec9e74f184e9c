"""Download the weights of a backbone once, to the local cache or to a folder to carry elsewhere."""

from __future__ import annotations

from pathlib import Path

from vlad.backbones import load_backbone
from vlad.backbones.downloads import check
from vlad.backbones.network import from_network
from vlad.errors import BackboneError

# what loading reads besides weights: configurations and tokenizers
SMALL = ("*.json", "*.txt", "*.model", "*.jsonl")
# weights in the order of preference
WEIGHTS = (
    *("open_clip_model.safetensors", "model.safetensors", "model-*.safetensors"),
    *("open_clip_pytorch_model.bin", "pytorch_model.bin", "pytorch_model-*.bin"),
)


def fetch_to(name: str, folder: Path) -> None:
    """Download a backbone into a folder that serves as `backbone` on a machine without a network.

    Args:
        name: a backbone of a model hub.
        folder: created if missing; files that are there are not downloaded again.

    Raises:
        BackboneError: a name that is not of a hub, or weights that cannot be downloaded or loaded.
    """
    from fnmatch import fnmatch

    from huggingface_hub import HfApi, snapshot_download
    from huggingface_hub.hf_api import RepoFile

    repository = repository_of(name)
    with from_network(name, folder=folder):
        entries = HfApi().list_repo_tree(repository, recursive=True)
        files = {entry.path: entry for entry in entries if isinstance(entry, RepoFile)}
        chosen = next((p for p in WEIGHTS if any(fnmatch(file, p) for file in files)), None)
        if chosen is None:
            raise BackboneError(
                f"{repository} has none of the files {', '.join(WEIGHTS)}; choose another backbone."
            )
        snapshot_download(repository, local_dir=folder, allow_patterns=[*SMALL, chosen])
        for path, entry in files.items():
            if entry.lfs and (folder / path).is_file():
                check(folder / path, entry.lfs.sha256, repository)
    load_backbone(str(folder), "cpu")  # a file that does not fit is said here, not elsewhere later


def repository_of(name: str) -> str:
    """The repository of a model hub that a backbone comes from.

    Raises:
        BackboneError: it is on this disk already, unknown, or from elsewhere.
    """
    from vlad.backbones import remote_source

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
    return repository

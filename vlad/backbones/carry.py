"""Copies the weights of a backbone into a folder that needs neither cache nor network."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

from vlad.backbones import EMBEDDED, load_backbone, remote_source
from vlad.backbones.backbone import Backbone
from vlad.backbones.fetch import SMALL, WEIGHTS
from vlad.errors import BackboneError
from vlad.system.files import cannot_write


def carry(name: str, backbone: Backbone, folder: Path) -> str:
    """Copy a loaded backbone into a folder -> the name that loads the copy.

    Args:
        name: the name that it was loaded under; one that ships with vlad needs no copy, nor one
            that is in the folder.
        folder: created if missing; what is there is replaced.

    Raises:
        BackboneError: it is of another package, its files are not in the local cache, or the copy
            does not have its weights.
        OutputError: the folder cannot be written.
    """
    if name in EMBEDDED:
        return name
    model, _, path = name.rpartition("=") if not os.path.exists(name) else ("", "", name)
    if os.path.exists(path) and Path(path).resolve().is_relative_to(folder.resolve()):
        return name  # it is that copy
    if os.path.isfile(path):
        files = [Path(path)]
        if (beside := Path(path).with_suffix(".json")).is_file():
            files.append(beside)
    elif os.path.isdir(path):
        files = _chosen(Path(path))
    else:
        model, files = _cached(name)
    try:
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True)
        for file in files:
            shutil.copyfile(file, folder / file.name)
    except OSError as error:
        raise cannot_write(folder, error) from error
    alone = os.path.isfile(path) or model
    copy = str(folder / files[0].name if alone else folder)
    copy = f"{model}={copy}" if model else copy
    if load_backbone(copy, "cpu").weights != backbone.weights:
        raise BackboneError(
            f"The copy of {name} has other weights than the backbone in use; leave the weights out "
            "of the detector, and carry them by `vlad backbones fetch`."
        )
    return copy


def _chosen(folder: Path) -> list[Path]:
    """Configurations, tokenizer and one form of the weights in a folder."""
    for pattern in WEIGHTS:
        if weights := sorted(folder.glob(pattern)):
            small = sorted({file for end in SMALL for file in folder.glob(end)})
            return [*small, *weights]
    raise BackboneError(
        f"{folder} has none of the files {', '.join(WEIGHTS)}; leave the weights out of the "
        "detector, and copy the folder beside it."
    )


def _cached(name: str) -> tuple[str, list[Path]]:
    """The model to name before its file, or "", and the files in the local caches."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import LocalEntryNotFoundError

    found = remote_source(name)
    if found is None:
        raise BackboneError(
            f"{name} is a backbone of another package, which holds its weights; leave them out of "
            "the detector, and install that package on the other machine too."
        )
    source, rest = found
    if source.__name__.endswith(".open_clip"):
        # its library knows the architecture, so the cache holds the weights only
        from vlad.backbones.open_clip import cached_file

        if file := cached_file(rest):
            return rest.partition("/")[0], [file]
    elif repository := source.repository(rest):
        try:
            return "", _chosen(Path(snapshot_download(repository, local_files_only=True)))
        except LocalEntryNotFoundError:
            pass
    raise BackboneError(
        f"The files of {name} are not in the local cache; give a folder as `backbone`, such as "
        "`vlad backbones fetch` writes."
    )

"""Real-IAD: several views of each object, with its own JSON split.

Wang et al., "Real-IAD", CVPR 2024: images in `realiad_1024/<category>/…` (or 512, 256, raw) and
`realiad_jsons/realiad_jsons/<category>.json`, the multi-view split: `meta` with `normal_class`,
then `train` and `test`, lists with `anomaly_class`, `image_path` and `mask_path` relative to the
category. Layout checked against the loaders of Anomalib and VLMDiff.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from vlad.datasets.layout import Splits, existing_folder, finish, listed_file, of_category
from vlad.errors import InputError
from vlad.system.resources import read_json
from vlad.types import Sample

IMAGES = ("realiad_1024", "realiad_512", "realiad_256", "realiad_raw")  # by preference
_SPLITS = (Path("realiad_jsons", "realiad_jsons"), Path("realiad_jsons"))


class RealIAD(Splits):
    """A Real-IAD folder.

    Splits have all views. As in the JSON, one of a damaged object counts as normal if it does not
    show the damage. `Sample.group` names the object, to join scores over its views.

    Attributes:
        categories: name -> JSON file, sorted by name.

    Raises:
        InputError: no such folder, or a folder without images or JSON files.
    """

    def __init__(self, root: str | os.PathLike) -> None:
        root = existing_folder(root)
        sizes = [root / name for name in IMAGES if os.path.isdir(root / name)]
        splits = [files for folder in _SPLITS if (files := sorted((root / folder).glob("*.json")))]
        if not sizes or not splits:
            raise InputError(
                f"{root} is not in Real-IAD layout; put {IMAGES[0]}/<category> (or "
                f"{', '.join(IMAGES[1:])}) and {_SPLITS[0].as_posix()}/<category>.json in it."
            )
        self._images = sizes[0]
        self.categories = {path.stem: path for path in splits[0]}

    def _split(self, category: str, split: str) -> list[Sample]:
        path = of_category(self.categories, category)
        folder = self._images / category
        data = _read(path)
        try:
            normal = data["meta"]["normal_class"]
            samples = [_sample(entry, folder, normal, path) for entry in data[split]]
        except (KeyError, TypeError, AttributeError) as error:
            raise InputError(
                f"{path} is not a Real-IAD split (meta, train and test, the last two with "
                "anomaly_class, image_path and mask_path); copy the file again."
            ) from error
        if split == "train":
            samples = [sample for sample in samples if sample.label == 0]
        if not samples:
            raise InputError(f"{path} lists no {split} images; copy the file again.")
        return finish(samples, category, folder)


def _sample(entry: dict[str, Any], folder: Path, normal: str, path: Path) -> Sample:
    bad = entry["anomaly_class"] != normal
    mask = entry["mask_path"] if bad else None
    return Sample(
        path=listed_file(folder / entry["image_path"], str(path)),
        id="",
        label=int(bad),
        defect=entry["anomaly_class"] if bad else "good",
        mask=listed_file(folder / mask, str(path)) if mask else None,
        group=Path(entry["image_path"]).parent.as_posix(),
    )


def _read(path: Path) -> Any:
    try:
        return read_json(path)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}; check its permissions.") from error
    except ValueError as error:
        raise InputError(f"{path} is not JSON ({error}); copy the file again.") from error

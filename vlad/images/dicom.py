"""DICOM files as grey or RGB images, by the window that the file states."""

from __future__ import annotations

from typing import BinaryIO, cast

import numpy as np
from PIL import Image, ImageFile
from pydicom import Dataset, dcmread
from pydicom.pixels import (
    apply_color_lut,
    apply_modality_lut,
    apply_voi,
    apply_windowing,
    pixel_array,
)

_WINDOWS = ("PixelValueTransformationSequence", "FrameVOILUTSequence")
_FAR = 1e12  # beyond every window


class DicomImage(ImageFile.ImageFile):
    """The first frame; decoded when it is loaded."""

    format = "DICOM"
    format_description = "DICOM"

    def _open(self) -> None:
        self.tile = []
        self.dataset: Dataset | None = dcmread(cast(BinaryIO, self.fp))
        self._size = int(self.dataset.Columns), int(self.dataset.Rows)
        grey = "MONOCHROME" in self.dataset.PhotometricInterpretation
        self._mode = "L" if grey else "RGB"

    def load(self):
        """Decodes the samples, once."""
        if self.dataset is not None:
            dataset, self.dataset = self.dataset, None
            samples = pixel_array(dataset, index=0)
            shares = _grey(samples, dataset) if self.mode == "L" else _colour(samples, dataset)
            pixels = np.rint(np.clip(shares, 0, 1) * 255).astype(np.uint8)
            self.im = Image.fromarray(pixels).im
        return self.im.pixel_access(self.readonly)


def _grey(samples: np.ndarray, dataset: Dataset) -> np.ndarray:
    """(H, W) -> 0 for black to 1 for white.

    By the file's table or first window; without, by the range that its samples may have, which is
    the same for all images of a device.
    """
    bits = int(dataset.BitsStored)
    for groups in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        for group in dataset.get(groups, [])[:1]:
            for name in _WINDOWS:
                dataset.update(group[name][0] if name in group else {})
    values = apply_modality_lut(samples, dataset)
    if "VOILUTSequence" in dataset:
        values = apply_voi(values, dataset)
        low, high = 0.0, 2.0 ** dataset.VOILUTSequence[0].LUTDescriptor[2] - 1
    elif dataset.get("WindowWidth") is not None and dataset.get("WindowCenter") is not None:
        values = apply_windowing(values, dataset)
        low, high = apply_windowing(np.array([-_FAR, _FAR]), dataset)
    else:
        least = -(2 ** (bits - 1)) if dataset.PixelRepresentation else 0
        ends = np.array([least, least + 2**bits - 1])
        low, high = sorted(apply_modality_lut(ends, dataset).astype(float))
    shares = (values - low) / (high - low)
    return 1 - shares if dataset.PhotometricInterpretation == "MONOCHROME1" else shares


def _colour(samples: np.ndarray, dataset: Dataset) -> np.ndarray:
    """(H, W) or (H, W, 3) -> RGB (H, W, 3) from 0 to 1."""
    if dataset.PhotometricInterpretation == "PALETTE COLOR":
        samples = apply_color_lut(samples, dataset)
        return samples / np.iinfo(samples.dtype).max
    return samples / (2 ** int(dataset.BitsStored) - 1)

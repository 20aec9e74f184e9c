"""Anomaly maps of images without labels, as the server of MVTec AD 2 takes them.

    anomaly_images/<category>/<id>.tiff               float16 maps
    anomaly_images_thresholded/<category>/<id>.png    0 for normal pixels, 255 for anomalous ones

An id is `test_private/000_regular`. Format as the authors' program for checking submissions, which
also packs the folder for upload, demands it.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import BinaryIO

import numpy as np
from PIL import Image, TiffImagePlugin

from vlad.calibration.pixels import DEVIATIONS, PixelSpread
from vlad.errors import InputError, OutputError
from vlad.images.resize import resize_map
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.scoring.setup import Setup
from vlad.system.files import atomic_write
from vlad.system.progress import Progress
from vlad.types import Sample

SAMPLE_FORMAT, FLOAT = 339, 3  # a tag of TIFF and its value
HALF = (-65504.0, 65504.0)  # the range of float16

Writer = Callable[[BinaryIO], object]


def check_submission(out: str | Path) -> None:
    """Check that a submission can be written to this folder.

    Raises:
        OutputError: it is not a new or empty folder.
    """
    out = Path(out)
    if out.exists() and not (out.is_dir() and not any(out.iterdir())):
        raise OutputError(f"{out} is not a new or empty folder; choose another for the submission.")


def write_submission(
    panel: Panel,
    spread: PixelSpread,
    samples: Sequence[Sample],
    category: str,
    out: str | Path,
    setup: Setup,
) -> None:
    """Write both maps of each image, at its size.

    The float16 map is (map − mean) / deviation of the validation images: one scale for all images
    of a category, which fits float16 whatever the head. Above 3 a pixel is anomalous.

    Args:
        panel: one fitted head.
        spread: of its maps of the validation images.
        samples: the images, whose ids name the files.
        category: the name of the folder.

    Raises:
        InputError: an image that cannot be scored, or maps without any spread.
        OutputError: a file cannot be written.
    """
    if not spread.deviation > 0:
        raise InputError(
            f"the maps of {category}/validation are constant, so they set no threshold; choose "
            "another head."
        )
    maps, masks = (Path(out) / f"anomaly_images{end}" / category for end in ("", "_thresholded"))
    with Progress(len(samples), verb=f"{category}: written") as progress:
        for batch in score_samples(
            panel, samples, batch_size=setup.batch_size, open_image=setup.open_image
        ):
            for scored in batch:
                if scored.size is None or scored.error:
                    raise InputError(
                        f"a submission needs every image, but {str(scored.error).rstrip('.')}; "
                        "correct it."
                    )
                ((_, anomaly_map),) = scored.maps.items()
                resized = resize_map(anomaly_map, scored.size).astype(np.float64)
                units = ((resized - spread.mean) / spread.deviation).clip(*HALF)
                name = scored.sample.id
                atomic_write(maps / f"{name}.tiff", _tiff(units.astype("<f2")))
                atomic_write(masks / f"{name}.png", _png(units > DEVIATIONS))
            progress.advance(len(batch))


def _tiff(values: np.ndarray) -> Writer:
    """What writes (H, W) float16 values into an open binary file."""
    tags = TiffImagePlugin.ImageFileDirectory_v2()
    tags[SAMPLE_FORMAT] = FLOAT  # Pillow knows no float16, only 16 bits
    image = Image.fromarray(values.view("<u2"))

    def write(file: BinaryIO) -> None:
        image.save(file, "TIFF", tiffinfo=tags)

    return write


def _png(anomalous: np.ndarray) -> Writer:
    """What writes a (H, W) mask into an open binary file."""
    image = Image.fromarray(anomalous.astype(np.uint8) * 255)
    return lambda file: image.save(file, "PNG")

"""Thresholds of pixels, from the maps of normal images kept for that purpose."""

from __future__ import annotations

import warnings
from collections.abc import Sequence

from vlad.calibration.pixels import PixelSpread
from vlad.scoring.panel import Panel
from vlad.scoring.pipeline import score_samples
from vlad.scoring.setup import Setup
from vlad.system.progress import Progress
from vlad.system.text import and_more
from vlad.types import Sample


def pixel_spreads(panel: Panel, samples: Sequence[Sample], setup: Setup) -> dict[str, PixelSpread]:
    """Head -> mean and deviation of its maps of normal images.

    Heads that judge a list of images jointly have none, which is said, as are unusable images.

    Args:
        panel: fitted.
        samples: normal images that no head was fitted on; none give no spreads.
    """
    names = [name for name in panel.heads if name not in panel.transductive]
    spreads: dict[str, PixelSpread] = {}
    if not samples:
        return spreads
    if panel.transductive:
        warnings.warn(
            f"{', '.join(panel.transductive)} judge all images jointly, so the images for "
            "validation set no threshold of pixels",
            stacklevel=3,
        )
    failed = []
    with Progress(len(samples) if names else 0, verb="for thresholds: scored") as progress:
        for batch in score_samples(
            panel.only(names),
            samples if names else [],
            batch_size=setup.batch_size,
            open_image=setup.open_image,
        ):
            failed += [str(scored.sample.path) for scored in batch if scored.error]
            for scored in batch:
                for name, anomaly_map in scored.maps.items():
                    spreads.setdefault(name, PixelSpread()).add(anomaly_map)
            progress.advance(len(batch), failed=sum(s.error is not None for s in batch))
    if failed:
        warnings.warn(
            f"{len(failed)} of the images for validation could not be used: {and_more(failed, 3)}",
            stacklevel=3,
        )
    return spreads

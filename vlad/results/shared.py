"""The settings that a calibration shares with the runs it serves."""

from __future__ import annotations

import json
from collections.abc import Mapping

from vlad.calibration import Calibration
from vlad.errors import InputError
from vlad.results.runjson import SETTINGS

# `prompts` tell what banks and categories say; digests of images are gathered below
_NOT_SHARED = {"vlad", "category", "banks", "protocol", "seed", "quality", "kinds"}
_IMAGES = ("references", "pool", "known_defects")
# what two runs must share for their scores to be comparable
_SHARED = tuple(key for key in SETTINGS if key not in {*_NOT_SHARED, *_IMAGES})


def shared_settings(settings: Mapping) -> dict[str, object]:
    """The settings in a run.json that scores depend on, besides the images."""
    shown = {path: digest for kind in _IMAGES for path, digest in settings.get(kind, {}).items()}
    return {
        **{key: settings.get(key) for key in _SHARED},
        "references": sorted(shown.values()),
    }


def check_calibration(calibration: Calibration, settings: Mapping[str, object]) -> None:
    """Check that a calibration was made with the settings of a run.

    Args:
        settings: `shared_settings` of the run.

    Raises:
        InputError: naming the first setting that differs.
    """
    if calibration.source == "number":  # a number fits any settings
        return
    renamed = calibration.settings.get("weights") == settings["weights"]
    for key, value in json.loads(json.dumps(settings)).items():
        was = calibration.settings.get(key)
        if was != value and not (key == "backbone" and renamed):
            shown = f" ({was} there, {value} here)" if len(f"{was}{value}") < 160 else ""
            raise InputError(
                f"the calibration was made with other {key}{shown}, so its threshold "
                "does not apply here; score with the settings it was made with, or make a new one."
            )

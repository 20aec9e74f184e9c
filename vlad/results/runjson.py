"""run.json: whether a folder holds a run, what made it, and whether one may begin there."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path

from vlad.errors import OutputError
from vlad.system.files import check_writable
from vlad.system.resources import read_json

KIND = "vlad run"
_PARTS = (
    "run.json",
    "joint.sha256",
    "scores.csv",
    "scores.parquet",
    "maps",
    "overlays",
    "calibration.json",
    "calibration",
    "regions",
    "report.html",
)


def check_out(out: str | Path, *, resume: bool = False, overwrite: bool = False) -> list[str]:
    """Whether a run may be written to `out`, before anything is computed; what is there of one.

    Raises:
        OutputError: it holds a run that is neither resumed nor overwritten, or something else of
            these names, or a part of the path is a file or may not be written to.
    """
    out = Path(out)
    present = [name for name in _PARTS if os.path.lexists(out / name)]
    if present and not written_settings(out):
        raise OutputError(
            f"{out} holds {present[0]} but no run of vlad, so it is left as it is; choose "
            "another folder."
        )
    if present and not (resume or overwrite):
        raise OutputError(
            f"{out} already holds a run; add --resume to continue it, --overwrite to start "
            "again, or choose another folder."
        )
    check_writable(out)
    return present


def is_run(out: str | Path, **settings: object) -> bool:
    """Whether the folder holds a run of vlad, made with these settings."""
    written = written_settings(Path(out))
    return written is not None and settings.items() <= written.items()


def written_settings(out: Path) -> dict | None:
    """What run.json holds, or None where there is none of ours."""
    try:
        written = read_json(out / "run.json")
    except (OSError, ValueError):
        return None
    return written if isinstance(written, dict) and written.get("kind") == KIND else None


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """The settings that differ between two runs, in words."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found += differences(was, now, f"{prefix}{key}.")
        elif was != now:
            text = f"{prefix}{key}: {was} there, {now} now"
            found.append(text if len(text) < 120 else f"{prefix}{key}")
    return found

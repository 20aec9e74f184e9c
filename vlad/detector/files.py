"""Which files a saved detector consists of, so that half a copy of it is told from all of it.

detector.json records the digest of every other file. Of a file of the backbone it records the
number of bytes, which is cheap to compare; the backbone's numbers have a digest of their own.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

from vlad.adapters import FILE as ADAPTER_FILE
from vlad.errors import InputError
from vlad.scoring.record import digest_of
from vlad.system.text import and_more, shown

SETTINGS, MEMORY, CALIBRATION = "detector.json", "memory.safetensors", "calibration.json"
ROI = "roi.png"
BANKS = ("bank", "guide", "ignore")  # each in a file of its name
QUESTION = "question.toml"  # of the head vlm, if it is not one of vlad's


def bank_files(name: str) -> tuple[str, str]:
    """The file that one of BANKS may be in: what people write, or a memory of captions."""
    return f"{name}.toml", f"{name}.parquet"


# all that a detector consists of, besides its weights
FILES = (
    *(SETTINGS, MEMORY, CALIBRATION, ROI, ADAPTER_FILE, QUESTION),
    *(file for name in BANKS for file in bank_files(name)),
)
WEIGHTS = "weights"  # folder of a copy of the backbone


def record(folder: Path, names: Iterable[str]) -> dict[str, str | int]:
    """Digest or size of some files and of all in `weights/`, by path in the folder."""
    weights = sorted(path for path in (folder / WEIGHTS).rglob("*") if path.is_file())
    found = {name: digest_of(folder / name) for name in names}
    return found | {path.relative_to(folder).as_posix(): path.stat().st_size for path in weights}


def check_present(folder: Path, names: Iterable[str]) -> None:
    """Check that files of a detector are there.

    Raises:
        InputError: one is missing.
    """
    if missing := [name for name in names if not (folder / name).is_file()]:
        raise InputError(
            f"{folder} lacks {shown(and_more(missing, 3))}, as if it was copied in part; copy all "
            "of its files."
        )


def check_files(folder: Path, recorded: Mapping[str, str | int]) -> None:
    """Check that the files of a detector are those that it was saved with.

    Raises:
        InputError: one is missing, is another, or was not saved with it.
    """
    check_present(folder, recorded)
    changed = [name for name, was in recorded.items() if _now(folder / name, was) != was]
    changed += [n for n in FILES if n not in (SETTINGS, *recorded) and (folder / n).exists()]
    if changed:
        raise InputError(
            f"{folder} was not saved with this {shown(and_more(changed, 3))}, as if two detectors "
            "were mixed or a file was edited; copy all files of one detector."
        )


def _now(file: Path, was: str | int) -> str | int:
    return file.stat().st_size if isinstance(was, int) else digest_of(file)


def is_record(value: object) -> bool:
    """Whether a value in detector.json may be what `record` gave: of no file outside the folder."""
    return isinstance(value, Mapping) and all(
        isinstance(was, str | int)
        and (name in FILES or (name.startswith(f"{WEIGHTS}/") and ".." not in name.split("/")))
        for name, was in value.items()
    )

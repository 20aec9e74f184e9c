"""When an event begins and ends, as a JSON file that other runs may use."""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from vlad.errors import InputError
from vlad.system.files import atomic_write
from vlad.system.formats import FORMAT, check_format
from vlad.system.resources import read_json
from vlad.system.text import encode, shown
from vlad.time import Hourly, Smoothing
from vlad.time.combined import Scales

THRESHOLDS = "thresholds.json"  # of a run
_KIND = "vlad event thresholds"


@dataclass(frozen=True)
class EventRules:
    """How scores of frames become events.

    Attributes:
        begin, end: head -> the smoothed score above which an event begins, and above which it
            lasts.
        regions: head -> the map value above which a pixel belongs to a region.
        smoothing: of the scores.
        gap: seconds without a frame that end an event; infinity for never, None for the usual
            (`vlad.time.default_gap`).
        sampling: which frames are scored: "every", "fps", "changes"; "motion", the settings of the
            column of that name, or False without one; "segments", whether by those.
        settings: `shared_settings` of the run that they were found in; empty for numbers, which
            fit any.
        hourly: head -> what they rest on; empty for numbers.
        note: a sentence on where they come from otherwise, or nothing.
        scales: as in `vlad.time.combined`, of the columns that are combined; empty for none.
    """

    begin: Mapping[str, float]
    end: Mapping[str, float]
    regions: Mapping[str, float] = field(default_factory=dict)
    smoothing: Smoothing = field(default_factory=Smoothing)
    gap: float | None = None
    sampling: Mapping[str, object] = field(default_factory=dict)
    settings: Mapping[str, object] = field(default_factory=dict)
    hourly: Mapping[str, Hourly] = field(default_factory=dict)
    note: str = ""
    scales: Scales = field(default_factory=dict)


def save_rules(rules: EventRules, path: Path) -> Path:
    """Write rules.

    Raises:
        OutputError: the file is not writable.
    """
    content = asdict(rules) | {
        "smoothing": str(rules.smoothing),
        "gap": "never" if rules.gap == math.inf else rules.gap,
    }
    text = json.dumps({"kind": _KIND, "format": FORMAT, **content}, indent=1) + "\n"
    return atomic_write(path, encode(text))


def load_rules(path: str | os.PathLike[str]) -> EventRules:
    """Read a file of `save_rules`.

    Raises:
        InputError: the file is missing, damaged, or of a newer vlad.
    """
    names = [*EventRules.__dataclass_fields__]
    try:
        content = read_json(Path(path))
        if content.pop("kind", None) != _KIND:
            raise ValueError("it is other JSON")
        check_format(content, names, path)
        content.pop("format", None)
        gap = content["gap"]
        hourly = {
            head: Hourly(
                **{**one, "interval": tuple(one["interval"]), "rates": tuple(one["rates"])}
            )
            for head, one in content["hourly"].items()
        }
        rules = EventRules(
            **{
                **{name: content[name] for name in names},
                "smoothing": Smoothing.of(content["smoothing"]),
                "gap": {"never": math.inf, None: None}[gap]
                if gap in ("never", None)
                else float(gap),
                "hourly": hourly,
                "scales": {name: (a, b) for name, (a, b) in content["scales"].items()},
            }
        )
        numbers = [*rules.begin.values(), *rules.end.values(), *rules.regions.values()]
        numbers += [number for scale in rules.scales.values() for number in scale]
        if not all(map(math.isfinite, numbers)) or not all(s > 0 for _, s in rules.scales.values()):
            raise ValueError("one of its numbers is invalid")
        if not rules.begin or set(rules.begin) != set(rules.end):
            raise ValueError("its heads are not the same everywhere")
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        reason = f"it lacks {error}" if isinstance(error, KeyError) else shown(error)
        raise InputError(
            f"{os.fspath(path)} holds no thresholds of events ({reason}); give thresholds.json of "
            "a run with normal footage."
        ) from error
    return rules


def check_rules(
    rules: EventRules, settings: Mapping[str, object], sampling: Mapping[str, object]
) -> None:
    """Check that rules were found with the settings of a run.

    Args:
        settings: `shared_settings` of the run.
        sampling: which frames it scores.

    Raises:
        InputError: naming the first setting that differs.
    """
    if not rules.settings:
        return
    now = json.loads(json.dumps({**settings, **sampling}))
    for key, was in {**rules.settings, **rules.sampling}.items():
        if now.get(key) != was:
            told = (
                f" ({was} there, {now.get(key)} here)" if len(f"{was}{now.get(key)}") < 160 else ""
            )
            raise InputError(
                f"the thresholds were found with other {key}{told}, so they do not apply here; "
                "score with the settings they were found with, or find others."
            )


def check_regions(regions: Mapping[str, float], out: Path) -> None:
    """Check that the frames in the folder of a run were searched for the same regions.

    Args:
        regions: as in `EventRules`.

    Raises:
        InputError: they were not.
    """
    file = out / THRESHOLDS
    before = load_rules(file).regions if file.exists() else {}
    if before != regions:
        told = [", ".join(f"{h} {x:.6g}" for h, x in one.items()) for one in (before, regions)]
        raise InputError(
            f"the frames in {out} have regions above other map values ({told[0] or 'none'} there, "
            f"{told[1] or 'none'} here); repeat the first command, or start again with `overwrite`."
        )

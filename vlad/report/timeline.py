"""report.html of a run over video: scores over time, and a strip of the events."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from vlad.heads import titled
from vlad.report.charts import decimals, thumbnail
from vlad.report.csp import policy
from vlad.report.style import style
from vlad.results.eventrules import EventRules
from vlad.results.eventtable import ENDED, Found, Series
from vlad.results.folder import RunFolder
from vlad.system.files import atomic_write
from vlad.system.templates import template
from vlad.system.text import counted
from vlad.time import Event, default_gap, pieces

_HERE = Path(__file__).parent
STRIP = 60  # events that are shown as images, highest score first
_LISTED = 2000  # events, and frames that failed, in a table
CHARTS = 60  # timelines; those with events first
_WIDTH, _HEIGHT = 1000, 120  # of a timeline, in its own units
_TICKS = 8
_ROUND = (
    *(0.1, 0.2, 0.5, 1, 2, 5, 10, 15, 30),
    *(60, 120, 300, 600, 900, 1800, 3600, 7200, 21600, 43200),
)


@dataclass(frozen=True)
class Peak:
    """The frame that shows an event.

    Attributes:
        image: as `vlad.report.charts.thumbnail` makes it.
        size: (width, height) of the frame.
        frame: its place in the series.
    """

    image: Mapping[str, Any]
    size: tuple[int, int]
    frame: int

    @classmethod
    def of(cls, image: Image.Image, frame: int) -> Peak:
        """That of an image of any size."""
        return cls(thumbnail(image), image.size, frame)


def strongest(found: Sequence[Found]) -> list[int]:
    """Places of the events that the strip shows, in the order of the run: the highest scores of
    each head, in its own unit."""
    heads = {one.head for one in found}
    kept: list[int] = []
    for head in heads:
        own = [place for place, one in enumerate(found) if one.head == head]
        own.sort(key=lambda place: -found[place].event.score)
        kept += own[: STRIP // len(heads)]
    return sorted(kept)


def write_timeline(
    run: RunFolder,
    series: Sequence[Series],
    rules: EventRules | None,
    found: Sequence[Found],
    peaks: Mapping[int, Peak],
    clips: Mapping[int, str],
    date: str,
) -> Path:
    """Write report.html into a finished run over video.

    Args:
        rules: what makes an event; None if nothing does.
        peaks: place of an event -> the frame that shows it, for those in the strip that have one.
        clips: place of an event -> its clip, relative to the run.
        date: when the run was made, as printed.

    Raises:
        OutputError: the file cannot be written.
    """
    columns = list(series[0].smoothed)
    titles = {
        name: titled(name, run.settings.get("protocol", {}).get(name, "")) for name in columns
    }
    digits = {
        name: decimals([x for one in series for x in one.smoothed[name].tolist()])
        for name in columns
    }
    css = style(_HERE / "report.css") + (_HERE / "timeline.css").read_text("utf-8")
    page = template(_HERE / "timeline.html.j2").stream(
        policy=policy(css, "", "img-src data:"),
        style=css,
        title=run.settings.get("category") or "Video",
        date=date,
        frames=len(run.rows) - run.rows.failed,
        lost=run.rows.failed,
        failed=list(islice((row for row in run.rows.values() if row.error), _LISTED)),
        sources=len(series),
        decided=rules is not None,
        notes=_notes(rules, titles),
        charts=[
            _chart(one, head, titles[head], digits[head], rules, own)
            for one, head, own in _charted(series, columns, found)
        ],
        timelines=len(series) * len(columns),
        strip=[_card(found[n], n, peaks.get(n), digits, clips) for n in strongest(found)],
        events=[_row(one, n, titles, digits, clips) for n, one in enumerate(found[:_LISTED])],
        count=len(found),
    )
    return atomic_write(run.out / "report.html", lambda file: page.dump(file, "utf-8"))


def clock(seconds: float, step: float = 0.1) -> str:
    """A position as h:mm:ss, with tenths if steps are shorter than a second."""
    tenths = round(seconds * 10)
    whole, rest = divmod(tenths, 10) if step < 1 else (round(seconds), 0)
    text = f"{whole // 3600}:{whole // 60 % 60:02}:{whole % 60:02}"
    return f"{text}.{rest}" if step < 1 else text


def _notes(rules: EventRules | None, titles: Mapping[str, str]) -> list[str]:
    if rules is None:
        return []
    notes = [rules.smoothing.sentence, *([rules.note] if rules.note else [])]
    notes += [f"{titles[head]}: {one.sentence}" for head, one in rules.hourly.items()]
    return notes


def _chart(
    one: Series,
    head: str,
    title: str,
    digits: int,
    rules: EventRules | None,
    found: Sequence[tuple[int, Event]],
) -> dict[str, Any]:
    """One timeline: lines, events and thresholds in units of _WIDTH×_HEIGHT."""
    values, seconds = one.smoothed[head], one.seconds
    end = float(seconds.max()) if len(seconds) else 0.0
    begin = rules.begin.get(head) if rules else None
    levels = [*values.tolist(), *([begin] if begin is not None else [])] or [0.0]
    low, high = min(levels), max(levels)
    spread = (high - low) or 1.0

    def y(value: float) -> float:
        return _HEIGHT - 4 - (_HEIGHT - 8) * (value - low) / spread

    gap = rules.gap if rules and rules.gap else default_gap(seconds)
    step = next((s for s in _ROUND if end / s <= _TICKS), end / _TICKS)
    return {
        "source": one.source,
        "head": title,
        "summary": counted(len(values), "frame")
        + (f", highest {values.max():.{digits}f}" if len(values) else ""),
        "lines": [
            " ".join(f"{place},{y(value):.1f}" for place, value in line)
            for line in lines(seconds, values, gap)
        ],
        "cut": None if begin is None else f"{y(begin):.1f}",
        "threshold": None if begin is None else f"{begin:.{digits}f}",
        "events": _bands(found, end),
        "ticks": [
            (f"{100 * n * step / (end or 1.0):.2f}", clock(n * step, step))
            for n in range(int(end / step) + 1)
        ],
    }


def lines(seconds: np.ndarray, values: np.ndarray, gap: float) -> list[list[tuple[int, float]]]:
    """Points (place, value) of the lines of a timeline, broken at gaps: one a place, whatever the
    number of frames. Of several frames in one place, the highest shows.

    Args:
        seconds, values: (n,), as in `vlad.time`.
        gap: as in `vlad.time.pieces`.
    """
    end = float(seconds.max()) if len(seconds) else 0.0
    # time stamps that go back behind the first frame are shown there
    places = np.clip((seconds * _WIDTH / (end or 1.0)).astype(int), 0, _WIDTH - 1)
    highest = np.full(_WIDTH, -np.inf)
    np.maximum.at(highest, places, values)
    first, last = np.full(_WIDTH, -1), np.full(_WIDTH, -1)  # piece of each place, at both ends
    for number, part in enumerate(pieces(seconds, gap)):
        inside = places[part]
        last[inside] = number
        first[inside] = np.where(first[inside] < 0, number, first[inside])
    drawn: list[list[tuple[int, float]]] = []
    before = -1
    for place in np.flatnonzero(first >= 0).tolist():
        if first[place] != before:
            drawn.append([])
        drawn[-1].append((place, float(highest[place])))
        before = int(last[place])
    return [line if len(line) > 1 else line * 2 for line in drawn]  # a single one shows as a dot


def _charted(
    series: Sequence[Series], heads: Iterable[str], found: Sequence[Found]
) -> list[tuple[Series, str, list[tuple[int, Event]]]]:
    """The timelines that are drawn: source, head, and its events with their places in the run."""
    events: dict[tuple[str, str], list[tuple[int, Event]]] = {}
    for place, one in enumerate(found):
        events.setdefault((one.series.source, one.head), []).append((place, one.event))
    every = [(one, head, events.get((one.source, head), [])) for one in series for head in heads]
    kept = sorted(range(len(every)), key=lambda place: not every[place][2])[:CHARTS]
    return [every[place] for place in sorted(kept)]


def _bands(events: Sequence[tuple[int, Event]], end: float) -> list[tuple[str, str, str]]:
    """x, width and title of the bands of a timeline; events in one place share a band."""
    bands: dict[int, list[tuple[int, Event]]] = {}
    for place, event in events:
        bands.setdefault(int(_WIDTH * event.start / (end or 1.0)), []).append((place, event))
    shown = []
    for group in bands.values():
        (place, first), stop = group[0], max(event.end for _, event in group)
        x = _WIDTH * first.start / (end or 1.0)
        width = max(_WIDTH * stop / (end or 1.0) - x, 2)
        name = f"Event {place + 1}" if len(group) == 1 else f"{len(group)} events"
        shown.append((f"{x:.2f}", f"{width:.2f}", f"{name}: {clock(first.start)} to {clock(stop)}"))
    return shown


def _card(
    one: Found, place: int, peak: Peak | None, digits: Mapping[str, int], clips: Mapping[int, str]
) -> dict[str, Any]:
    frame, (width, height) = (peak.frame, peak.size) if peak else (one.shown, (0, 0))
    return {
        "number": place + 1,
        "image": peak and peak.image,
        "view": f"0 0 {width} {height}",
        "box": next((box for at, box, _ in one.track if at == frame), None),
        "at": clock(float(one.series.seconds[frame])),
        "score": f"{one.event.score:.{digits[one.head]}f}",
        "head": one.head,
        "source": one.series.source,
        "clip": clips.get(place),
    }


def _row(
    one: Found,
    place: int,
    titles: Mapping[str, str],
    digits: Mapping[str, int],
    clips: Mapping[int, str],
) -> dict[str, Any]:
    event = one.event
    return {
        "number": place + 1,
        "source": one.series.source,
        "head": titles[one.head],
        "start": clock(event.start),
        "end": clock(event.end),
        "at": clock(event.at),
        "score": f"{event.score:.{digits[one.head]}f}",
        "ended": ENDED[event.ended],
        "clip": clips.get(place),
    }

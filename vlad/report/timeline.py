"""report.html of a run over video: scores over time, and a strip of the events."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
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
from vlad.time import default_gap, pieces

_HERE = Path(__file__).parent
STRIP = 60  # events that are shown as images, highest score first
_LISTED = 2000  # events in the table
_WIDTH, _HEIGHT = 1000, 120  # of a timeline, in its own units
_TICKS = 8
_ROUND = (
    0.1,
    0.2,
    0.5,
    1,
    2,
    5,
    10,
    15,
    30,
    60,
    120,
    300,
    600,
    900,
    1800,
    3600,
    7200,
    21600,
    43200,
)

Peak = tuple[Image.Image, tuple[int, int]]  # a small image, and the size of its frame


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
        peaks: place of an event -> its frame of the highest score, for those in the strip.
        clips: place of an event -> its clip, relative to the run.
        date: when the run was made, as printed.

    Raises:
        OutputError: the file cannot be written.
    """
    titles = {h: titled(h, run.settings.get("protocol", {}).get(h, "")) for h in run.heads}
    digits = {
        head: decimals([x for one in series for x in one.smoothed[head].tolist()])
        for head in run.heads
    }
    css = style(_HERE / "report.css") + (_HERE / "timeline.css").read_text("utf-8")
    page = template(_HERE / "timeline.html.j2").stream(
        policy=policy(css, "", "img-src data:"),
        style=css,
        title=run.settings.get("category") or "Video",
        date=date,
        frames=len(run.rows) - run.rows.failed,
        failed=[row for row in run.rows.values() if row.error][:_LISTED],
        sources=len(series),
        decided=rules is not None,
        notes=_notes(rules, titles),
        charts=[
            _chart(one, head, titles[head], digits[head], rules, found)
            for one in series
            for head in run.heads
        ],
        strip=[_card(found[n], n, peaks[n], digits, clips) for n in sorted(peaks)],
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
    notes = [rules.smoothing.sentence]
    notes += [f"{titles[head]}: {one.sentence}" for head, one in rules.hourly.items()]
    return notes


def _chart(
    one: Series,
    head: str,
    title: str,
    digits: int,
    rules: EventRules | None,
    found: Sequence[Found],
) -> dict[str, Any]:
    """One timeline: lines, events and thresholds in units of _WIDTH×_HEIGHT."""
    values, seconds = one.smoothed[head], one.seconds
    end = float(seconds.max()) if len(seconds) else 0.0
    begin = rules.begin[head] if rules else None
    levels = [*values.tolist(), *([begin] if begin is not None else [])] or [0.0]
    low, high = min(levels), max(levels)
    spread = (high - low) or 1.0

    def x(at: float) -> float:
        return _WIDTH * at / (end or 1.0)

    def y(value: float) -> float:
        return _HEIGHT - 4 - (_HEIGHT - 8) * (value - low) / spread

    lines = []
    gap = rules.gap if rules and rules.gap else default_gap(seconds)
    for part in pieces(seconds, gap):
        places = np.minimum((seconds[part] * _WIDTH / (end or 1.0)).astype(int), _WIDTH - 1)
        own = values[part]
        points = []
        for place in np.unique(places):  # of many frames in one place, the highest shows
            points.append(f"{place},{y(float(own[places == place].max())):.1f}")
        lines.append(" ".join(points))
    step = next((s for s in _ROUND if end / s <= _TICKS), end / _TICKS)
    return {
        "source": one.source,
        "head": title,
        "summary": f"{len(values)} frames"
        + (f", highest {values.max():.{digits}f}" if len(values) else ""),
        "lines": lines,
        "cut": None if begin is None else f"{y(begin):.1f}",
        "threshold": None if begin is None else f"{begin:.{digits}f}",
        "events": [
            (
                f"{x(f.event.start):.2f}",
                f"{max(x(f.event.end) - x(f.event.start), 2):.2f}",
                f"Event {n + 1}: {clock(f.event.start)} to {clock(f.event.end)}",
            )
            for n, f in enumerate(found)
            if f.series is one and f.head == head
        ],
        "ticks": [
            (f"{100 * n * step / (end or 1.0):.2f}", clock(n * step, step))
            for n in range(int(end / step) + 1)
        ],
    }


def _card(
    one: Found, place: int, peak: Peak, digits: Mapping[str, int], clips: Mapping[int, str]
) -> dict[str, Any]:
    small, (width, height) = peak
    box = next((box for frame, box, _ in one.track if frame == one.event.peak), None)
    return {
        "number": place + 1,
        "image": thumbnail(small),
        "view": f"0 0 {width} {height}",
        "box": box,
        "at": clock(one.event.at),
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

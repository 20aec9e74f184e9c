"""The progress of a command: a bar on a terminal, plain lines in a log."""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterable, Iterator
from typing import TextIO, TypeVar

from vlad.system.text import shown

T = TypeVar("T")
_BAR = "{desc} {n_fmt}/{total_fmt} |{bar}| {rate_noinv_fmt}, {remaining} left{postfix}"
_COUNT = "{desc} {n_fmt}, {rate_noinv_fmt}{postfix}"  # where no total is known


class Progress:
    """Counts images and reports progress on stderr; used as a context manager.

    Args:
        total: number of images in all; None if nobody knows.
        verb: what happens to them, in the past tense ("scored").
        unit: what is counted, if not images.
        done: number of images finished before; they do not count in the speed.
        interval: seconds between two plain lines.
        stream: where to write.
    """

    def __init__(
        self,
        total: int | None,
        verb: str = "scored",
        done: int = 0,
        interval: float = 10.0,
        stream: TextIO | None = None,
        unit: str = "images",
    ):
        self.unit = unit
        # a verb may name a category, and so a folder
        self.total, self.verb, self.done, self.before = total, shown(verb), done, done
        self.failed = 0
        self.interval = interval
        self.stream = stream or sys.stderr
        self.started = time.monotonic()
        self.printed_at: float | None = None
        self.bar = None
        # tqdm shows nothing on a terminal that does not tell its size
        if (
            self.stream is not None
            and self.stream.isatty()
            and os.get_terminal_size(self.stream.fileno()).columns
        ):
            from tqdm import tqdm

            self.bar = tqdm(
                total=total,
                initial=done,
                desc=self.verb,
                unit=f" {unit}",
                file=self.stream,
                dynamic_ncols=True,
                bar_format=_COUNT if total is None else _BAR,
            )

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_) -> None:
        if self.bar is not None:
            self.bar.close()
        else:
            self._print(last=True)

    def advance(self, count: int = 1, failed: int = 0) -> None:
        """Count `count` more images, `failed` of which could not be used."""
        self.done += count
        self.failed += failed
        if self.bar is not None:
            if failed:
                self.bar.set_postfix_str(f"{self.failed} failed", refresh=False)
            self.bar.update(count)
        elif (self.total is None or self.done < self.total) and (
            self.printed_at is None or time.monotonic() - self.printed_at >= self.interval
        ):
            self._print()

    def reach(self, done: int, total: int) -> None:
        """Report progress if the total is only known on the way."""
        self.total = total
        if self.bar is not None:
            self.bar.total = total
        self.advance(done - self.done)

    def say(self, sentence: str) -> None:
        """Print a sentence on a line of its own."""
        if self.bar is not None:
            self.bar.write(sentence, file=self.stream)
        elif self.stream is not None:
            print(sentence, file=self.stream, flush=True)

    def track(self, items: Iterable[T]) -> Iterator[T]:
        """Yield the items, counting each one when the next is asked for."""
        for item in items:
            yield item
            self.advance()

    def _print(self, last: bool = False) -> None:
        self.printed_at = time.monotonic()
        if self.stream is None:  # a service without stderr
            return
        elapsed = self.printed_at - self.started
        fresh = self.done - self.before
        of = "" if self.total is None else f"/{self.total}"
        parts = [f"{self.verb} {self.done}{of} {self.unit}"]
        if fresh and elapsed > 0:
            rate = fresh / elapsed
            if self.unit in ("images", "frames"):
                parts.append(f"{rate:{'.1f' if rate >= 1 else '.2g'}} {self.unit}/s")
            if last:
                parts.append(f"{duration(elapsed)} in all")
            elif self.total is not None:
                parts.append(f"{duration((self.total - self.done) / rate)} left")
        if self.failed:
            parts.append(f"{self.failed} failed")
        print(", ".join(parts), file=self.stream, flush=True)


def duration(seconds: float) -> str:
    """Seconds in words of the size that matters: 82 s, 14 min, 3 h 05 min."""
    if seconds < 120:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 120 else f"{minutes // 60} h {minutes % 60:02d} min"

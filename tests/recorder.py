"""A tracking program that keeps what it is sent."""

import sys
from importlib.machinery import ModuleSpec

from vlad.system import tracking


class Recorder:
    """Stands for a tracker of accelerate.

    Args:
        fails: names of the methods that raise.
    """

    def __init__(self, *fails):
        self.fails = fails
        self.settings, self.figures, self.ended, self.asks = None, [], 0, None

    def start(self):
        self._call("start")
        self.asks = sys.stdin.isatty()

    def store_init_configuration(self, values):
        self._call("settings")
        self.settings = values

    def log(self, values, step):
        self._call("log")
        self.figures.append((step, values))

    def finish(self):
        self.ended += 1

    def _call(self, name):
        if name in self.fails:
            raise ConnectionError(f"no answer to {name}.")

    def of(self, figure):
        """(step, value) of a figure."""
        return [(step, values[figure]) for step, values in self.figures if figure in values]


def record(monkeypatch, *fails):
    """Have `--log` send everything to a Recorder, and return it."""
    found = Recorder(*fails)
    monkeypatch.setattr(tracking, "find_spec", lambda name: ModuleSpec(name, None, origin="here"))
    monkeypatch.setattr(tracking, "_program", lambda name, out: found)
    return found

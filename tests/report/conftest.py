"""Runs, and their reports opened as files in a real browser."""

import pytest
from report_runs import LABELS, NAMES, make_run, write

from vlad.calibration import Calibration
from vlad.results.verdicts import Rules, judge


@pytest.fixture
def visit(browser):
    """A finished run -> its report in a browser without memory; no script of it fails, and it
    loads nothing but files."""
    contexts, wrong = [], []

    def go(folder, **settings):
        context = browser.new_context(**settings)
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(120_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        loaded = lambda r: r.url.startswith(("file:", "data:", "blob:"))  # noqa: E731
        page.on("request", lambda r: None if loaded(r) else wrong.append(r.url))
        page.goto((folder / "report.html").as_uri())
        return page

    yield go
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def run(tmp_path):
    """Six images, two heads; image i scores i/10 under winclip and -i/10 under memory."""
    return make_run(tmp_path, NAMES, labels=LABELS, size=(1200, 900))


@pytest.fixture
def page(visit, run, tmp_path):
    write(*run)
    return visit(tmp_path / "run")


@pytest.fixture
def judged(visit, tmp_path):
    """The same images under one head, flagged above 0.15: one defect found, two alarms."""
    run, samples = make_run(tmp_path, NAMES, labels=LABELS, heads=("memory",), size=(1200, 900))
    found = judge(run, samples, Rules(calibration=Calibration.fixed("memory", 0.15)))
    write(run, samples, judged=found)
    return visit(tmp_path / "run")

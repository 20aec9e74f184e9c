"""The checks that tests of every kind of backbone share, and the table of their results."""

import sys
from collections import defaultdict
from pathlib import Path

import pytest

sys.path.append(str(Path(__file__).parent))

# library and kind -> guarantee -> "yes", "-" (refused, as its description says) or "FAILED"
TABLE: defaultdict[str, dict[str, str]] = defaultdict(dict)


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item, call):
    """Note the result of each check of a backbone."""
    from conformance import REFUSED

    report = yield
    if call.when == "call" and item.originalname == "test_guarantee":
        guarantee = item.callspec.params["guarantee"]
        kind = item.callspec.id.removesuffix(guarantee).removeprefix(guarantee).strip("-")
        library = item.path.parent.name if item.path.stem == "test_conformance" else item.path.stem
        name = f"{library.removeprefix('test_')}: {kind}".removesuffix(": ")
        good = "-" if REFUSED else "yes"
        TABLE[name][guarantee] = good if report.passed else "FAILED"
        REFUSED.clear()
    return report


def pytest_terminal_summary(terminalreporter):
    """One line for each kind of backbone."""
    if not TABLE:
        return
    guarantees = list(dict.fromkeys(g for row in TABLE.values() for g in row))
    terminalreporter.section("backbones: what each kind guarantees")
    width = max(map(len, TABLE))
    terminalreporter.line(f"{'':{width}}  {'  '.join(guarantees)}")
    for name, row in sorted(TABLE.items()):
        cells = (row.get(g, "").center(len(g)) for g in guarantees)
        terminalreporter.line(f"{name:{width}}  {'  '.join(cells)}".rstrip())

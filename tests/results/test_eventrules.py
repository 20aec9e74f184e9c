"""Thresholds of events as a file: what is read back, what is refused."""

import json
import math

import pytest

from vlad.errors import InputError
from vlad.results.eventrules import EventRules, check_rules, load_rules, save_rules
from vlad.time import Hourly, Smoothing

HOURLY = Hourly(0.5, 0.25, 1.0, 2.0, 2, 9, (0.4, 0.6), (0.5, 1.5), 30.0)
RULES = EventRules(
    {"memory": 0.5},
    {"memory": 0.25},
    {"memory": 0.75},
    Smoothing.of("ewma=2"),
    3.0,
    {"every": 1, "fps": 5.0, "changes": None},
    {"backbone": "vlad-tiny"},
    {"memory": HOURLY},
    "Where they come from.",
    {"memory": (0.25, 0.125), "motion": (0.5, 0.25)},
)


@pytest.mark.parametrize("gap", [3.0, None, math.inf])
def test_rules_are_read_back(tmp_path, gap):
    rules = EventRules(**{**vars(RULES), "gap": gap})
    assert load_rules(save_rules(rules, tmp_path / "thresholds.json")) == rules


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"kind": "vlad calibration"}, "it is other JSON"),
        ({"begin": {"memory": math.nan}}, "one of its numbers is invalid"),
        ({"end": {"winclip": 0.25}}, "its heads are not the same everywhere"),
        ({"begin": {}, "end": {}}, "its heads are not the same everywhere"),
        ({"gap": "soon"}, "soon"),
        ({"hourly": {"memory": {"threshold": 1}}}, "it lacks"),
        ({"scales": {"memory": [1]}}, "not enough values"),
        ({"scales": {"memory": [1, 0]}}, "one of its numbers is invalid"),
        ({"scales": {"memory": [math.nan, 1]}}, "one of its numbers is invalid"),
    ],
)
def test_a_damaged_file_is_refused(tmp_path, change, said):
    file = save_rules(RULES, tmp_path / "thresholds.json")
    file.write_text(json.dumps(json.loads(file.read_text()) | change))
    with pytest.raises(InputError, match=f"holds no thresholds of events .*{said}"):
        load_rules(file)


def test_a_file_that_lacks_a_part_or_is_missing_is_refused(tmp_path):
    file = save_rules(RULES, tmp_path / "thresholds.json")
    content = json.loads(file.read_text())
    del content["regions"]
    file.write_text(json.dumps(content))
    for path in (file, tmp_path / "none.json"):
        with pytest.raises(InputError, match="holds no thresholds of events"):
            load_rules(path)


def test_rules_serve_only_runs_with_their_settings():
    sampling = {"every": 1, "fps": 5.0, "changes": None}
    check_rules(RULES, {"backbone": "vlad-tiny", "more": 1}, sampling)
    with pytest.raises(InputError, match=r"with other backbone \(vlad-tiny there, other here\)"):
        check_rules(RULES, {"backbone": "other"}, sampling)
    with pytest.raises(InputError, match=r"with other fps \(5.0 there, None here\)"):
        check_rules(RULES, {"backbone": "vlad-tiny"}, {**sampling, "fps": None})
    # numbers that somebody chose fit any run
    check_rules(EventRules({"memory": 1}, {"memory": 1}), {"backbone": "other"}, sampling)

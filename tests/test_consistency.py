"""One thing has one name, one unit and one default: in options, Python, files and over HTTP."""

import csv
import inspect
from collections import defaultdict
from dataclasses import fields
from typing import get_args

import click
import pytest
from click.testing import CliRunner

from vlad.calibration import FALSE_ALARMS
from vlad.cli import main
from vlad.detector import Detector
from vlad.errors import AdapterError, HeadError
from vlad.heads import HEADS, head_maker, load_head
from vlad.scoring.panel import Panel
from vlad.types import Verdicts

# what may stand for the values of an option where commands differ in what they take
METAVARS = {
    "--category": {"WORDS", "CATEGORY"},  # of a prompt; of a data set, whose names they are
    "--data": {"DIR[:WEIGHT]", "NAME=DIR"},  # to learn from; that figures are printed for
    "--head": {"NAME", "NAMES"},  # one or several
    "--k-shot": {"K", "K,K,..."},
    "--out": {"DIR", "FILE"},
    "--to": {None, "DIR"},  # a format; a folder
}
# options whose default depends on the command, which says so in its help
DEFAULTS = {"--backbone", "--category", "--head", "--k-shot", "--out", "--seed"}
# options that say of what they are
HELPS = {
    "--backbone", "--bank", "--cache", "--category", "--data", "--detector", "--head", "--json",
    "--k-shot",
    "--licence", "--out", "--overwrite", "--resume", "--seed", "--to", "--with-weights",
}  # fmt: skip


def options_of(command, path="vlad"):
    """(path, option) of every command."""
    if isinstance(command, click.Group):
        for name, part in command.commands.items():
            yield from options_of(part, f"{path} {name}")
    else:
        yield from ((path, p) for p in command.params if isinstance(p, click.Option))


@pytest.fixture(scope="module")
def options():
    """Name -> its options in all commands."""
    found = defaultdict(list)
    for _, option in options_of(main):
        found[option.opts[0]].append(option)
    return found


def test_every_option_says_what_it_takes():
    for path, option in options_of(main):
        named = option.metavar or option.is_flag or isinstance(option.type, click.Choice)
        assert named, f"{path} {option.opts[0]} has no metavar"
        assert option.help and not option.help.startswith("["), f"{path} {option.opts[0]}"


def test_options_of_one_name_are_one_thing(options):
    for name, same in options.items():
        assert len({option.is_flag for option in same}) == 1, name
        assert {option.metavar for option in same} <= METAVARS.get(name, {same[0].metavar}), name
        if name not in DEFAULTS:
            assert len({repr(option.default) for option in same}) == 1, name
        if name not in HELPS:
            assert len({option.help for option in same}) == 1, name


def test_exceptions_are_still_needed(options):
    for name, allowed in METAVARS.items():
        assert {option.metavar for option in options[name]} == allowed
    for name in DEFAULTS:
        defaults = {(repr(o.default), o.help.partition("[default")[2]) for o in options[name]}
        assert len(defaults) > 1, name
    for name in HELPS:
        assert len({option.help for option in options[name]}) > 1, name


def test_arguments_of_a_detector_are_options_of_fit():
    given = {p.opts[0]: p for p in main.commands["fit"].params if isinstance(p, click.Option)}
    for name, argument in inspect.signature(Detector).parameters.items():
        if name == "head_params":  # --param, and --adapter
            continue
        option = given["--" + name.replace("_", "-")]
        stated = f"[default: {argument.default}" in option.help
        assert stated or argument.default is None or option.default == argument.default, name


def test_false_alarms_have_one_default(options):
    from vlad.serving.routes.detectors import DetectorRoutes

    assert {option.default for option in options["--false-alarms"]} == {FALSE_ALARMS}
    for function in (Detector.calibrate, DetectorRoutes.fit):
        assert inspect.signature(function).parameters["false_alarms"].default == FALSE_ALARMS


def test_columns_are_fields_of_a_reply(images, small_file, tmp_path):
    from vlad.serving.schemas import ImageReply

    # in a file: which image it is, the score under the name of its head, regions as their number
    # and total area; over HTTP: an uploaded name, one head a detector, regions one by one
    others = {"path": "name", "memory": "image_score", "memory_area_px": "regions"}
    words = ["score", images, "--normal", images, "--threshold", "0.1", "--out", tmp_path / "a"]
    words += ["--map-threshold", "0.1", "--backbone", small_file, "--device", "cpu"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    with open(tmp_path / "a" / "scores.csv", newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    for column in rows[0]:
        assert others.get(column, column.removeprefix("memory_")) in ImageReply.model_fields, column
    assert set(others) < set(rows[0])
    # Python has a verdict as a truth value, under the name of what is true
    for field in fields(Verdicts):
        name = {"anomalous": "verdict"}.get(field.name, field.name)
        assert name in ImageReply.model_fields
        assert name == "image_score" or f"memory_{name}" in rows[0]
    verdicts = get_args(get_args(ImageReply.model_fields["verdict"].annotation)[0])
    assert {row["memory_verdict"] for row in rows} <= set(verdicts)


TEXTS = ("model", "model_name", "question", "noun", "keywords")  # parameters that take any text


@pytest.mark.parametrize("name", HEADS)
def test_errors_of_a_head_begin_with_its_name(name, small_backbone, small_adapter):
    known = inspect.signature(head_maker(name)).parameters
    learned = "adapter" in known
    remedy = "choose from " if known else "leave it out"
    given = {"adapter": small_adapter(name)} if learned else {}
    with pytest.raises(HeadError, match=f"^Unknown parameter {name}.zzz; {remedy}"):
        load_head(name, zzz=1)
    for param in known:
        odd = 5 if param in TEXTS else "nonsense"
        if param != "adapter":
            with pytest.raises(HeadError, match=f"^Head {name}: {param} is {odd!r}; give "):
                load_head(name, **given, **{param: odd})
    if learned and getattr(head_maker(name), "needs_adapter", False):
        with pytest.raises(AdapterError, match=f"^Head {name} needs a trained adapter"):
            Panel(small_backbone, {name: load_head(name)})
    made = load_head(name, **given)
    if made.normals == "needed":
        with pytest.raises(HeadError, match=f"^Head {name} compares with normal images: fit it"):
            made.score(None)

"""Files that a newer vlad wrote: each reader says so in one sentence, and what to do."""

import json
import re

import pytest
import tomli_w
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file

import vlad
from vlad.adapters import read_adapter
from vlad.adapters.cards import read_card
from vlad.calibration import Calibration, load_calibration, save_calibration
from vlad.errors import VladError
from vlad.evaluation.bench import BENCH, bench
from vlad.results.folder import RunFolder
from vlad.system.formats import FORMAT
from vlad.training.checkpoint import State, load_state, save_state

CARD = dict.fromkeys(("head", "backbone", "auxiliary", "licence", "source", "sha256"), "x")


def change_json(file, change):
    file.write_text(json.dumps({**json.loads(file.read_text()), **change}))


def change_header(file, change):
    with safe_open(file, framework="pt") as opened:
        header = json.loads(opened.metadata()["vlad"])
    save_file(load_file(file), file, {"vlad": json.dumps({**header, **change})})


def change_checkpoint(file, change):
    torch.save({**torch.load(file, weights_only=True), **change}, file)


def change_card(file, change):
    file.write_text(tomli_w.dumps({**read_card(file), **change}))


@pytest.fixture
def file(request, tmp_path, small_file, small_adapter, drawn):
    """(file as vlad writes it, how it is changed, how vlad reads it)."""
    case = request.param
    if case == "detector":
        made = vlad.load("memory", backbone=str(small_file), device="cpu").fit(drawn[:1])
        made.save(tmp_path)
        return tmp_path / "detector.json", change_json, lambda: vlad.Detector.load(tmp_path)
    if case == "calibration":
        path = save_calibration(Calibration.fixed("memory", 0.5), tmp_path / "calibration.json")
        return path, change_json, lambda: load_calibration(path)
    if case in ("run opened", "run resumed"):
        run = RunFolder(tmp_path, {"memory": (0.0, 1.0)}, {"category": "nut"}).create()
        again = RunFolder(tmp_path, run.heads, {"category": "nut"})
        read = again.resume if case == "run resumed" else lambda: RunFolder.open(tmp_path)
        return tmp_path / "run.json", change_json, read
    if case in ("bench", "bench row"):
        settings = {"k_shot": [0], "seeds": [0]}

        def read():
            # all that it asks for is measured
            heads = {"winclip": vlad.heads.load_head("winclip")}
            return bench(None, {}, lambda: heads, [0], [0], tmp_path, settings, layouts={})

        BENCH.begin(tmp_path, settings)
        row = dict.fromkeys(("head", "data", "category"), "x") | {"k_shot": 0, "seed": 0}
        (tmp_path / "results.jsonl").write_text(json.dumps(row | {"metric.own": 1}) + "\n")
        name = "bench.json" if case == "bench" else "results.jsonl"

        def change(path, change):
            change_json(path, change)
            path.write_text(path.read_text() + "\n")

        return tmp_path / name, change, read
    if case == "adapter":
        path = tmp_path / "adapter.safetensors"
        path.write_bytes(read_file(small_adapter("uniadet")))
        return path, change_header, lambda: read_adapter(path)
    if case == "card":
        (tmp_path / "card.toml").write_text(tomli_w.dumps(CARD))
        return tmp_path / "card.toml", change_card, lambda: read_card(tmp_path / "card.toml")
    save_state(tmp_path, State({}), {})
    return tmp_path / "checkpoint.pt", change_checkpoint, lambda: load_state(tmp_path, {})


def read_file(folder):
    from vlad.adapters import find_adapter

    return find_adapter(folder).read_bytes()


FILES = [
    "detector", "calibration", "run opened", "run resumed", "bench", "bench row", "adapter",
    "checkpoint",
]  # fmt: skip


def refused(file, change) -> str:
    path, put, read = file
    read()
    put(path, change)
    with pytest.raises(VladError) as error:
        read()
    text = str(error.value)
    assert text.startswith(f"{path} was written by a newer vlad (")
    assert text.endswith("; install that one, or give a file that this version wrote.")
    assert not re.search(r"\n|[.?!] [A-Z]", text)
    return text


@pytest.mark.parametrize("file", [*FILES, "card"], indirect=True)
def test_a_higher_format(file):
    assert f"format {FORMAT + 1}" in refused(file, {"format": FORMAT + 1})


@pytest.mark.parametrize("file", FILES, indirect=True)
def test_a_field_that_this_version_does_not_know(file):
    assert "its field blur is unknown here" in refused(file, {"blur": 3})


@pytest.mark.parametrize("file", ["card"], indirect=True)
def test_people_may_add_fields_to_a_card(file):
    path, change, read = file
    change(path, {"our_figures": "92"})
    assert read()["our_figures"] == "92"


@pytest.mark.parametrize("file", ["detector", "calibration", "run opened", "bench"], indirect=True)
def test_files_without_a_format_are_of_the_first(file):
    path, _, read = file
    content = json.loads(path.read_text())
    assert content.pop("format") == FORMAT
    path.write_text(json.dumps(content))
    read()

import json
import subprocess
import sys

import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner

import vlad.vlm.draft
from vlad.cli import main
from vlad.prompts import load_bank
from vlad.system.resources import tomllib

STATES = {
    "normal": ["flawless bottle cap", "smooth bottle cap", "broken bottle cap", "round cap"],
    "anomalous": ["bottle cap with a cracked rim", "dented bottle cap", "Dented bottle cap"],
}


@pytest.fixture
def draft(tmp_path):
    def run(server, *args, category="bottle cap", out="bank.toml"):
        words = ["prompts", "draft", category, "--vlm", server.url, "--vlm-model", MODEL]
        words += ["--out", str(tmp_path / out)] if out else []
        return CliRunner().invoke(main, [*words, *args])

    return run


def test_a_draft_is_a_valid_bank_with_its_provenance(draft, tmp_path):
    with ChatServer(json.dumps(STATES)) as server:
        done = draft(server)
    assert done.exit_code == 0, done.output
    bank = load_bank(tmp_path / "bank.toml")
    assert bank.wording.normal == ("flawless {}", "smooth {}")
    assert bank.wording.anomalous == ("{} with a cracked rim", "dented {}")
    assert MODEL in bank.source and "prompts/vlm/draft.toml" in bank.source
    assert bank.licence == "none stated"
    assert "bottle cap" in bank.title and "no person has checked" in bank.description
    checked = CliRunner().invoke(main, ["prompts", "check", str(tmp_path / "bank.toml")])
    assert checked.exit_code == 0, checked.output
    (asked,) = server.asked
    assert "bottle cap" in asked.text and not asked.images


def test_every_dropped_phrase_is_said_with_the_reason(draft):
    with ChatServer(json.dumps(STATES)) as server:
        done = draft(server)
    assert done.stderr.splitlines() == [
        "Dropped (normal): 'broken bottle cap' calls it faulty",
        "Dropped (normal): 'round cap' does not name the bottle cap",
        "Dropped (anomalous): 'Dented bottle cap' repeats another",
    ]
    assert "dented bottle cap" in done.stdout
    assert "which no person has checked" in done.stdout


def test_the_bank_is_of_that_category_only(draft, tmp_path):
    with ChatServer(json.dumps(STATES)) as server:
        draft(server)
    shown = CliRunner().invoke(main, ["prompts", "show", str(tmp_path / "bank.toml")])
    assert "does not support the category 'object'" in shown.stderr


def test_a_file_is_not_overwritten_without_asking(draft, tmp_path):
    (tmp_path / "bank.toml").write_text("mine")
    with ChatServer(json.dumps(STATES)) as server:
        done = draft(server)
        assert done.exit_code == 2 and "add --overwrite" in done.stderr
        assert not server.asked
        assert (tmp_path / "bank.toml").read_text() == "mine"
        assert draft(server, "--overwrite").exit_code == 0
    assert load_bank(tmp_path / "bank.toml").title


@pytest.mark.parametrize(
    ("category", "name"), [('left "inner" cap', "left_inner_cap.toml"), ("螺母", "螺母.toml")]
)
def test_odd_categories(draft, tmp_path, monkeypatch, category, name):
    monkeypatch.chdir(tmp_path)
    states = {"normal": [f"good {category}"], "anomalous": [f"{category} with rust"]}
    with ChatServer(json.dumps(states, ensure_ascii=False)) as server:
        done = draft(server, category=category, out=None)
    assert done.exit_code == 0, done.output
    table = tomllib.loads((tmp_path / name).read_text(encoding="utf-8"))
    assert table["categories"] == [category]
    assert (
        load_bank(tmp_path / name)
        .expand(category)
        .anomalous[0]
        .endswith(f"photo of the {category} with rust.")
    )


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ("I cannot help with that.", "drafted no states of bottle cap (no answer"),
        ('{"normal": ["bottle cap"', "drafted no states of bottle cap (no answer"),
        ('{"normal": [1], "anomalous": []}', "drafted no states of bottle cap (no answer"),
        ('{"normal": [], "anomalous": []}', "no usable normal state of bottle cap (0 dropped)"),
        (
            '{"normal": ["good bottle cap"], "anomalous": ["a crack", "flawless bottle cap"]}',
            "no usable anomalous state of bottle cap (2 dropped: 'a crack' does not name the "
            "bottle cap)",
        ),
    ],
)
def test_useless_answers_write_nothing(draft, tmp_path, answer, said):
    with ChatServer(answer) as server:
        done = draft(server)
    assert done.exit_code == 2
    assert said in done.stderr and done.stderr.count("Error:") == 1
    assert not (tmp_path / "bank.toml").exists()


def test_a_server_that_is_down_or_absent(draft, tmp_path):
    with ChatServer("", faults=("500",) * 9) as server:
        assert draft(server).exit_code == 2
    done = draft(server)
    assert done.exit_code == 2 and "Traceback" not in done.output
    assert not (tmp_path / "bank.toml").exists()


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["bottle cap"], "name one with --vlm"),
        (["a/b", "--vlm", "http://127.0.0.1:9/v1", "--vlm-model", "x"], "a brace, a slash"),
        (["bottle cap", "--vlm", "http://127.0.0.1:9/v1"], "--vlm-model"),
        (["bottle cap", "--vlm", "no/such/folder"], "no/such/folder"),
    ],
)
def test_bad_input_is_said_in_one_sentence(args, said, run_env, tmp_path):
    command = [sys.executable, "-m", "vlad", "prompts", "draft", *args]
    done = subprocess.run(command, env=run_env, cwd=tmp_path, capture_output=True, text=True)
    assert done.returncode == 2
    assert said in done.stderr and "Traceback" not in done.stderr
    assert not list(tmp_path.glob("*.toml"))


def test_an_interrupted_draft_writes_nothing(draft, tmp_path, monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(vlad.vlm.draft, "sift", stop)
    with ChatServer(json.dumps(STATES)) as server:
        done = draft(server)
    assert done.exit_code == 130
    assert "Stopped." in done.stderr
    assert not (tmp_path / "bank.toml").exists()

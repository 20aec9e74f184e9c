"""Adapters sent to a hub and fetched from it, by the commands that people type."""

import shutil
from pathlib import Path

import pytest
import tomli_w
import yaml
from click.testing import CliRunner

from vlad.adapters import CARD, FILE, read_adapter
from vlad.cli import main


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.fixture
def adapter(small_adapter, tmp_path) -> Path:
    """The folder of an adapter with its card."""
    folder = tmp_path / "adapter"
    shutil.copytree(small_adapter("uniadet"), folder)
    found = read_adapter(folder / FILE)
    card = {"head": found.head, "backbone": found.backbone, "auxiliary": found.auxiliary}
    card |= {"licence": "CC0-1.0", "source": "drawn", "sha256": found.sha256}
    (folder / CARD).write_text(tomli_w.dumps(card))
    return folder


def test_an_adapter_comes_back_among_the_others(hub, adapter):
    (adapter / "log.txt").write_text("of the training")
    done = cli("adapters", "push", adapter, "me/drawn-uniadet")
    assert done.exit_code == 0, done.output
    assert "Not sent: 1 file (log.txt)" in done.output
    there = hub.repositories["me/drawn-uniadet"]
    assert there.private and sorted(there.files) == [".gitattributes", "README.md", FILE, CARD]
    text = there.files["README.md"].decode()
    assert yaml.safe_load(text.split("---\n")[1])["license"] == "cc0-1.0"
    assert "| trained on | nothing |" in text and "vlad adapters pull me/drawn-uniadet" in text

    done = cli("adapters", "pull", "me/drawn-uniadet")
    assert done.exit_code == 0, done.output
    made = read_adapter(adapter / FILE).backbone
    use = f"--backbone {made} --head uniadet --adapter drawn-uniadet"
    assert done.output.splitlines()[-1] == f"Use it with {use}" and use in text
    assert 'source = "drawn"' in cli("adapters", "show", "drawn-uniadet").output
    again = cli("adapters", "pull", "me/drawn-uniadet")
    assert again.exit_code == 2 and "is there already" in again.output


def test_an_adapter_that_differs_from_its_card_is_neither_sent_nor_fetched(hub, adapter, tmp_path):
    cli("adapters", "push", adapter, "me/drawn")
    files = hub.repositories["me/drawn"].files
    changed = files[FILE][:-1] + bytes([files[FILE][-1] ^ 1])
    (adapter / FILE).write_bytes(changed)
    done = cli("adapters", "push", adapter, "me/other")
    assert done.exit_code == 2 and "was changed" in done.output
    assert "me/other" not in hub.repositories
    hub.repositories["me/drawn"].commit({FILE: changed})
    done = cli("adapters", "pull", "me/drawn", "--out", tmp_path / "there")
    assert done.exit_code == 2
    assert "me/drawn holds a damaged adapter" in done.output and "was changed" in done.output
    assert not (tmp_path / "there").exists()


def test_the_file_that_is_sent_is_the_one_that_is_checked(hub, adapter):
    shutil.copy(adapter / FILE, adapter / "other.safetensors")
    content = (adapter / FILE).read_bytes()
    (adapter / FILE).write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    done = cli("adapters", "push", adapter / "other.safetensors", "me/drawn")
    assert done.exit_code == 2 and "was changed" in done.output


def test_what_is_shown_is_what_is_used(hub, adapter, tmp_path, monkeypatch):
    cli("adapters", "push", adapter, "me/mine")
    assert cli("adapters", "pull", "me/mine").exit_code == 0
    shutil.copytree(adapter, tmp_path / "here" / "mine")
    card = tmp_path / "here" / "mine" / CARD
    card.write_text(card.read_text().replace("drawn", "of this folder"))
    monkeypatch.chdir(tmp_path / "here")
    assert 'source = "of this folder"' in cli("adapters", "show", "mine").output


def test_a_detector_is_no_adapter(hub, adapter, saved, tmp_path):
    cli("adapters", "push", adapter, "me/drawn")
    cli("detector", "push", saved, "me/nut")
    for command, words in (
        (("adapters", "pull", "me/nut"), "What me/nut holds is of kind detector, not adapter"),
        (("detector", "pull", "me/drawn", tmp_path / "x"), "is of kind adapter, not detector"),
        (("adapters", "push", adapter, "me/nut", "--overwrite"), "is of kind detector"),
        (("detector", "push", saved, "me/drawn", "--overwrite"), "is of kind adapter"),
    ):
        done = cli(*command)
        assert done.exit_code == 2 and words in done.output, done.output
    assert not (tmp_path / "x").exists()


def test_a_licence_of_several_lines_is_refused(hub, adapter):
    done = cli("adapters", "push", adapter, "me/drawn", "--licence", "MIT\n---")
    assert done.exit_code == 2 and "is not one line of text" in done.output
    assert not hub.repositories

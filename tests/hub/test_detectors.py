"""Detectors sent to a hub and fetched from it, by the commands that people type."""

import json
import os

import numpy as np
import pytest
import yaml
from click.testing import CliRunner
from PIL import Image

import vlad
from vlad.cli import main

OWN = ["calibration.json", "detector.json", "memory.safetensors"]


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


def refusal(*args) -> str:
    """The sentence that a command ends with."""
    done = cli(*args)
    assert done.exit_code == 2, done.output
    (line,) = [line for line in done.output.splitlines() if line.startswith("Error: ")]
    return line


def files_in(folder):
    return sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())


def test_a_detector_comes_back_as_it_was(hub, saved, images, tmp_path):
    vlad.Detector.load(saved).replace(saved)
    (saved / "notes.txt").write_text("of mine")
    done = cli("detector", "push", saved, "me/nut", "--licence", "Apache-2.0")
    assert done.exit_code == 0, done.output
    assert "Not sent: 4 files (notes.txt, versions/1/calibration.json, " in done.output
    there = hub.repositories["me/nut"]
    assert there.private and b"earlier versions" not in there.files["README.md"]
    assert sorted(there.files) == [".gitattributes", "README.md", *OWN]
    assert len(hub.large) == 1  # the tensors went through large storage

    done = cli("detector", "pull", "me/nut", tmp_path / "there")
    assert done.exit_code == 0, done.output
    assert files_in(tmp_path / "there") == OWN
    for name in OWN:
        assert (tmp_path / "there" / name).read_bytes() == (saved / name).read_bytes()
    np.testing.assert_array_equal(
        vlad.Detector.load(tmp_path / "there").score(images / "4.png").image_score,
        vlad.Detector.load(saved).score(images / "4.png").image_score,
    )
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_the_card_describes_the_detector(hub, saved):
    cli("detector", "push", saved, "me/nut", "--licence", "Plant 3 only | see <b>contract</b>")
    text = hub.repositories["me/nut"].files["README.md"].decode()
    head = yaml.safe_load(text.split("---\n")[1])
    assert head["license"] == "other" and head["license_name"] == "plant-3-only-see-b-contract-b"
    assert "| head | memory |" in text and "| backbone | vlad-tiny |" in text
    assert f"| vlad | {vlad.__version__} |" in text and "fitted on | 2 images" in text
    assert r"Plant 3 only \| see \<b\>contract\</b\>" in text
    assert "vlad detector pull me/nut" in text
    cli("detector", "push", saved, "me/nut", "--licence", "MIT", "--overwrite")
    assert b"license: mit\n" in hub.repositories["me/nut"].files["README.md"]
    cli("detector", "push", saved, "me/nut", "--overwrite")
    text = hub.repositories["me/nut"].files["README.md"]
    assert b"license:" not in text and b"| licence | not stated |" in text


def test_what_is_there_is_replaced_only_if_asked(hub, saved, images, tmp_path):
    cli("detector", "push", saved, "me/nut")
    first = hub.repositories["me/nut"].main
    assert "me/nut holds a detector already; give --overwrite" in refusal(
        "detector", "push", saved, "me/nut"
    )
    assert hub.repositories["me/nut"].main == first
    fitted = vlad.load("memory", backbone="vlad-tiny", device="cpu").fit(images / "0.png")
    fitted.save(tmp_path / "other")
    done = cli("detector", "push", tmp_path / "other", "me/nut", "--overwrite")
    assert done.exit_code == 0, done.output
    assert "calibration.json" not in hub.repositories["me/nut"].files  # it is of the former one
    assert "calibration.json" in hub.repositories["me/nut"].commits[first]


def test_a_pull_replaces_a_detector_if_asked_and_keeps_it(hub, saved, images, tmp_path):
    cli("detector", "push", saved, "me/nut")
    before = (saved / "detector.json").read_bytes()
    settings = json.loads(before)
    hub.repositories["me/nut"].commit(
        {"detector.json": json.dumps({**settings, "category": "nut"}).encode()}
    )
    words = refusal("detector", "pull", "me/nut", saved)
    assert f"{saved} holds a detector already; give --overwrite to replace it" in words
    hub.repositories["me/nut"].commit({"memory.safetensors": b"damaged"})
    assert "holds a damaged detector" in refusal("detector", "pull", "me/nut", saved, "--overwrite")
    assert (saved / "detector.json").read_bytes() == before and files_in(saved) == OWN
    memory = (saved / "memory.safetensors").read_bytes()
    hub.repositories["me/nut"].commit({"memory.safetensors": memory})
    done = cli("detector", "pull", "me/nut", saved, "--overwrite")
    assert done.exit_code == 0, done.output
    assert f"What was in {saved} is version 1" in done.output
    assert vlad.Detector.load(saved).category == "nut"
    assert (saved / "versions" / "1" / "detector.json").read_bytes() == before
    # what is no detector is never replaced
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "a.txt").write_text("mine")
    words = refusal("detector", "pull", "me/nut", tmp_path / "mine", "--overwrite")
    assert "is there already; choose another folder" in words
    assert files_in(tmp_path / "mine") == ["a.txt"]
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_public_repository_takes_nothing_unasked(hub, saved):
    hub.add("me/nut", {}, private=False)
    words = refusal("detector", "push", saved, "me/nut")
    assert "me/nut is public, so all can see what is in it; give --public" in words
    assert set(hub.repositories["me/nut"].files) == {".gitattributes"}
    assert cli("detector", "push", saved, "me/nut", "--public").exit_code == 0
    assert cli("detector", "push", saved, "me/new", "--public").exit_code == 0
    assert not hub.repositories["me/new"].private
    hub.add("me/closed", {}, private=True)
    words = cli("detector", "push", saved, "me/closed", "--public").output
    assert "me/closed is private; make it public in its settings on the hub" in words


def test_a_repository_of_something_else_is_left_alone(hub, saved):
    hub.add("me/model", {"config.json": b"{}"}, private=True)
    assert "me/model holds no detector: it lacks detector.json" in refusal(
        "detector", "push", saved, "me/model", "--overwrite"
    )
    cli("detector", "push", saved, "me/nut")
    hub.repositories["me/nut"].commit({"train.py": b"pass"})
    words = refusal("detector", "push", saved, "me/nut", "--overwrite")
    assert "me/nut holds files that no detector has (train.py)" in words
    assert "train.py" in hub.repositories["me/nut"].files


def test_pickles_and_unknown_files_are_not_fetched(hub, saved, tmp_path):
    cli("detector", "push", saved, "me/nut")
    others = {"evil.pkl": b"cos\nsystem", "run.py": b"pass", "weights/deep/a.json": b"{}"}
    hub.repositories["me/nut"].commit(others)
    hub.asked.clear()
    done = cli("detector", "pull", "me/nut", tmp_path / "there")
    assert done.exit_code == 0, done.output
    assert "Not fetched: 3 files (evil.pkl, run.py, weights/deep/a.json)" in done.output
    assert files_in(tmp_path / "there") == OWN
    assert not [path for _, path, *_ in hub.asked if path.endswith(tuple(others))]
    hub.repositories["me/nut"].commit({"weights/pytorch_model.bin": b"cos\nsystem"})
    words = refusal("detector", "pull", "me/nut", tmp_path / "other")
    assert "has weights in a pickle (weights/pytorch_model.bin), which can hold code" in words
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["detector.json", "memory.safetensors"])
def test_a_file_with_another_digest_is_refused(hub, saved, tmp_path, name):
    cli("detector", "push", saved, "me/nut")

    def changed(handler):
        if "/resolve/" in handler.path and handler.path.endswith(name):
            files = hub.repositories["me/nut"].files
            content = bytes([files[name][0] ^ 1]) + files[name][1:]
            handler.send_response(200)
            handler.send_header("ETag", '"of something else"')
            handler.send_header("X-Repo-Commit", hub.repositories["me/nut"].main)
            handler.send_header("Content-Length", str(len(content)))
            handler.end_headers()
            if handler.command == "GET":
                handler.wfile.write(content)
            return True
        return False

    hub.answer = changed
    words = refusal("detector", "pull", "me/nut", tmp_path / "there")
    assert f"{name} of me/nut arrived with another digest" in words
    assert not (tmp_path / "there").exists()
    assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []


def test_a_damaged_detector_does_not_appear(hub, saved, tmp_path):
    cli("detector", "push", saved, "me/nut")
    settings = json.loads((saved / "detector.json").read_text())
    hub.repositories["me/nut"].commit(
        {"detector.json": json.dumps({**settings, "head": "evil.py:Head"}).encode()}
    )
    words = refusal("detector", "pull", "me/nut", tmp_path / "there")
    assert "me/nut holds a damaged detector" in words and "whose code is not run" in words
    assert not (tmp_path / "there").exists()
    hub.add("me/half", {"detector.json": b"{}"}, private=True)
    words = refusal("detector", "pull", "me/half", tmp_path / "there")
    assert "it lacks memory.safetensors" in words


def test_the_backbone_inside_is_sent_only_if_asked(hub, small_file, images, tmp_path):
    made = vlad.load("memory", backbone=str(small_file), device="cpu", layers=(1, 3))
    made.fit([images / "0.png"]).save(tmp_path / "named")
    words = refusal("detector", "push", tmp_path / "named", "me/nut")
    assert "is a file of this machine" in words and "fit the detector with --with-weights" in words
    made.save(tmp_path / "whole", with_weights=True)
    words = refusal("detector", "push", tmp_path / "whole", "me/nut")
    assert "holds its backbone, without which it is not whole; give --with-weights" in words
    assert not hub.repositories
    done = cli("detector", "push", tmp_path / "whole", "me/nut", "--with-weights")
    assert done.exit_code == 0, done.output
    assert f"weights/{small_file.name}" in hub.repositories["me/nut"].files
    cli("detector", "pull", "me/nut", tmp_path / "there")
    expected = made.score(images / "4.png").image_score
    found = vlad.Detector.load(tmp_path / "there").score(images / "4.png").image_score
    np.testing.assert_array_equal(found, expected)
    hub.repositories["me/nut"].commit({}, gone=[f"weights/{small_file.name}"])
    words = refusal("detector", "pull", "me/nut", tmp_path / "other")
    assert f"lacks weights/{small_file.name}, as if it was copied in part" in words
    settings = json.loads(hub.repositories["me/nut"].files["detector.json"])
    del settings["files"]  # as an earlier version wrote it
    hub.repositories["me/nut"].commit({"detector.json": json.dumps(settings).encode()})
    words = refusal("detector", "pull", "me/nut", tmp_path / "other")
    assert "The detector of me/nut lacks its backbone; ask its owner" in words


@pytest.mark.parametrize(
    ("token", "name", "words"),
    [
        ("hf_reader", "me/nut", "Your token (HF_TOKEN) may not do this with me/nut; get one with"),
        ("hf_writer", "you/nut", "Your token (HF_TOKEN) may not do this with you/nut"),
        ("hf_expired", "me/nut", "does not accept your token (HF_TOKEN): correct or remove it"),
        ("", "me/nut", "takes nothing for me/nut from you without a token: set HF"),
        ("hf_writer", "nut", "'nut' names no repository of the model hub; write it as OWNER/NAME"),
        ("hf_writer", "a/../b", "names no repository"),
    ],
)
def test_a_push_that_the_hub_refuses_is_one_sentence(hub, saved, monkeypatch, token, name, words):
    monkeypatch.setenv("HF_TOKEN", token)
    assert words in refusal("detector", "push", saved, name)
    assert not hub.repositories


def test_a_pull_that_the_hub_refuses_is_one_sentence(hub, saved, tmp_path, monkeypatch, waits):
    there = tmp_path / "there"
    cli("detector", "push", saved, "me/nut")
    words = "or does not show it to your token (HF_TOKEN): correct the name, or get a token"
    assert words in refusal("detector", "pull", "me/nowhere", there)
    monkeypatch.setenv("HF_TOKEN", "hf_stranger")
    assert words in refusal("detector", "pull", "me/nut", there)
    hub.repositories["me/nut"].private, hub.repositories["me/nut"].gated = False, True
    refused = refusal("detector", "pull", "me/nut", there)
    assert f"does not open it: ask for access on {hub.url}/me/nut with the account" in refused
    hub.fault("status", ".", status=503, words="busy")
    words = refusal("detector", "pull", "me/nut", there)
    assert "failed or refused for me/nut" in words and "(503 busy)" in words
    assert not there.exists()


def test_a_hub_out_of_reach_is_one_sentence(hub, saved, tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_OFFLINE", "1")
    words = refusal("detector", "pull", "me/nut", tmp_path / "there")
    assert "the network is forbidden (VLAD_OFFLINE is set)" in words
    monkeypatch.delenv("VLAD_OFFLINE")
    hub.shutdown()
    hub.server_close()
    for command in (("pull", "me/nut", tmp_path / "there"), ("push", saved, "me/nut")):
        words = refusal("detector", *command)
        assert "me/nut is out of reach, and the model hub (127.0.0.1) does not answer" in words
    assert not hub.asked


def replace_at(hub, saved, where):
    """Have the detector replaced, once, as the hub is asked for a path with `where`."""

    def answer(handler):
        if where in handler.path:
            hub.answer = lambda _: False
            vlad.Detector.load(saved).replace(saved)
        return False

    hub.answer = answer


def test_a_detector_that_is_replaced_is_not_sent_in_part(hub, saved):
    replace_at(hub, saved, "/api/models/me/nut")  # after it was read
    assert f"{saved} was replaced while it was sent; repeat the command." in refusal(
        "detector", "push", saved, "me/nut"
    )
    assert sorted(hub.repositories["me/nut"].files) == [".gitattributes"]
    before = (saved / "calibration.json").read_bytes()

    def changed(handler):
        if "/preupload/" in handler.path:  # after the digests
            (saved / "calibration.json").write_bytes(b"{}")
        return False

    hub.answer = changed
    assert cli("detector", "push", saved, "me/nut").exit_code == 0
    assert hub.repositories["me/nut"].files["calibration.json"] == before


def test_two_pushes_at_once_do_not_mix(hub, saved):
    cli("detector", "push", saved, "me/nut")

    def another(handler):
        if "/commit/" in handler.path:
            hub.repositories["me/nut"].commit({"bank.toml": b"x"})
        return False

    hub.answer = another
    words = refusal("detector", "push", saved, "me/nut", "--overwrite")
    assert "failed or refused for me/nut" in words and "repeat the command" in words


def test_every_file_of_a_detector_is_known(saved, small_adapter, images, tmp_path):
    """One that were not would be missing after a pull."""
    from vlad.hub.files import known

    adapter, region = small_adapter("anomalyclip"), tmp_path / "region.png"
    Image.new("L", (120, 90), 255).save(region)
    made = vlad.load("memory", backbone="vlad-tiny", device="cpu", roi=region)
    made.fit([images / "0.png"]).save(tmp_path / "region")
    paths = {*files_in(saved), *files_in(tmp_path / "region"), *os.listdir(adapter)}
    assert {"roi.png", "adapter.safetensors", "calibration.json"} <= paths
    assert set(known(paths, "detector")) == paths


@pytest.mark.parametrize("kind", ["detector", "adapter"])
def test_no_file_lands_outside_its_folder(kind):
    from vlad.hub.files import known

    own = known({*OWN, "adapter.safetensors", "card.toml", "weights/a.safetensors"}, kind)
    assert len(own) == {"detector": 5, "adapter": 2}[kind]
    ways = ("../{}", "/{}", "./{}", "a/../{}", "weights/../{}", "weights/..\\{}", "..\\{}", "{}\n")
    assert known([way.format(path) for way in ways for path in own], kind) == []

from dataclasses import replace

import pytest
from chat_server import ChatServer
from PIL import Image

from vlad.system.resources import cache_folder
from vlad.vlm import Request, load_vlm


@pytest.fixture
def server(tmp_path, monkeypatch):
    monkeypatch.setenv("VLAD_CACHE", str(tmp_path))
    with ChatServer(lambda asked: f"{len(server.asked)}", logprobs={"Yes": -1.0}) as server:
        yield server


@pytest.fixture
def vlm(server):
    return load_vlm(server.url, name="fake-vlm")


def test_a_question_is_asked_once(server, vlm, red):
    first = vlm.ask([Request((red,), "?")])[0]
    again = load_vlm(server.url, name="fake-vlm").ask([Request((red.copy(),), "?")])[0]
    assert again.text == first.text
    assert first.tokens_in and first.seconds
    assert (again.seconds, again.tokens_in, again.tokens_out) == (0, 0, 0)
    assert len(server.asked) == 1


def test_every_part_of_a_question_counts(server, vlm, red, blue):
    one_off = red.copy()
    one_off.putpixel((3, 4), (254, 0, 0))
    schema = {"type": "object"}
    vlm.ask([Request((red,), "?"), Request((one_off,), "?"), Request((red,), "!")])
    vlm.ask([Request((red, blue), "?"), Request((blue, red), "?"), Request((), "?")])
    vlm.ask([Request((red,), "?")], max_tokens=9)
    vlm.ask([Request((Image.new("RGB", (60, 80), "red"),), "?")])
    load_vlm(server.url, name="other").ask([Request((red,), "?")])
    assert len(server.asked) == 9
    server.answer = "{}"
    vlm.ask([Request((red,), "?")], schema)
    assert len(server.asked) == 10


def test_choices_are_kept_too(server, vlm, red):
    first = vlm.choose([Request((red,), "?")], ["Yes", "No"])[0]
    again = vlm.choose([Request((red,), "?")], ["Yes", "No"])[0]
    assert first.tokens_in == 100 and first.seconds > 0
    assert again == replace(first, seconds=0, tokens_in=0, tokens_out=0)
    assert first.probabilities == (1.0, 0.0)
    vlm.choose([Request((red,), "?")], ["No", "Yes"])
    assert len(server.asked) == 2


def test_what_failed_is_asked_again(server, vlm, red):
    server.faults = ["empty"]
    assert vlm.ask([Request((red,), "?")])[0].error
    assert not vlm.ask([Request((red,), "?")])[0].error


def test_a_reply_without_end_is_not_kept(server, vlm, red):
    server.answer = "x" * 70_000
    assert vlm.ask([Request((red,), "?")])[0].text == server.answer
    assert not list(cache_folder().rglob("*.json"))


def test_a_damaged_file_is_asked_again(server, vlm, red):
    vlm.ask([Request((red,), "?")])
    (file,) = cache_folder().rglob("*.json")
    for content in ("{", "[]", '{"odd": 1}', '"text"'):
        file.write_text(content)
        assert vlm.ask([Request((red,), "?")])[0].text
    assert len(server.asked) == 5


def test_no_key_is_kept(server, vlm, red, monkeypatch):
    monkeypatch.setenv("VLAD_VLM_KEY", "sk-secret")
    vlm.ask([Request((red,), "?")])
    assert server.keys == ["Bearer sk-secret"]
    for file in cache_folder().rglob("*"):
        assert "sk-secret" not in file.name
        assert not file.is_file() or b"sk-secret" not in file.read_bytes()


def test_old_answers_make_room(server, vlm, monkeypatch):
    monkeypatch.setattr("vlad.vlm.cache.MAX_FILES", 1)
    vlm.ask([Request((), str(i)) for i in range(600)])
    files = list(cache_folder().rglob("*.json"))
    assert 200 < len(files) <= 256
    assert len({file.parent for file in files}) == len(files)


def test_without_a_place_nothing_is_kept(server, vlm, red, monkeypatch):
    monkeypatch.delenv("VLAD_CACHE")
    monkeypatch.delenv("XDG_CACHE_HOME", raising=False)
    monkeypatch.setattr("pathlib.Path.home", _no_home)
    for _ in range(2):
        assert vlm.ask([Request((red,), "?")])[0].text
    assert len(server.asked) == 2


def _no_home():
    raise RuntimeError

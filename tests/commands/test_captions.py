"""vlad captions: from a file, and from a model that looks at frames."""

import csv

import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner
from clips import grey, write_clip
from PIL import Image

from vlad.cli import main
from vlad.time import anomalyruler_base

GATE = """seconds,caption
0,"a man walks, slowly"
0.5,a man rides a bicycle
1,
1.5,a man walks
"""


@pytest.fixture
def captions(tmp_path):
    def run(source, *args, keyword="bicycle"):
        words = ["captions", source, "--keyword", keyword, "--out", tmp_path / "scored.csv", *args]
        return CliRunner().invoke(main, list(map(str, words)))

    return run


@pytest.fixture
def gate(tmp_path):
    (tmp_path / "gate.csv").write_text(GATE, encoding="utf-8")
    return tmp_path / "gate.csv"


def rows(tmp_path):
    with open(tmp_path / "scored.csv", newline="", encoding="utf-8") as file:
        return list(csv.DictReader(file))


def test_captions_of_a_file(captions, gate, tmp_path):
    done = captions(gate)
    assert done.exit_code == 0, done.output
    assert (
        "3 frames scored, 1 without a caption" in done.stdout and "1 with a keyword" in done.stdout
    )
    found = rows(tmp_path)
    assert found[2]["error"] == "no caption" and found[2]["score"] == ""
    del found[2]
    expected = anomalyruler_base([row["caption"] for row in found], ["bicycle"])
    assert [float(row["score"]) for row in found] == pytest.approx(expected.scores)
    assert [row["hit"] for row in found] == ["0", "1", "0"]
    assert [float(row["seconds"]) for row in found] == [0, 0.5, 1.5]


def test_a_model_writes_captions_of_a_clip(captions, tmp_path):
    clip = write_clip(tmp_path / "gate.mp4", [grey(60)] * 10 + [grey(200)] * 10, rate=10)

    def answer(asked):
        (image,) = asked.images
        return "A  bicycle\nstands" if image.convert("L").getpixel((0, 0)) > 128 else "a wall"

    with ChatServer(answer) as server:
        vlm = ("--vlm", server.url, "--vlm-model", MODEL)
        done = captions(clip, *vlm, "--fps", 5)
    assert done.exit_code == 0, done.output
    found = rows(tmp_path)
    assert [row["caption"] for row in found] == ["a wall"] * 5 + ["A bicycle stands"] * 5
    assert [float(row["seconds"]) for row in found] == pytest.approx([i / 5 for i in range(10)])
    assert [int(row["frame"]) for row in found] == [*range(0, 20, 2)]  # as in the clip
    assert {float(row["score"]) for row in found[:5]} == {0} and float(found[9]["score"]) > 0.5


def test_frames_without_an_answer_are_said(captions, tmp_path):
    (tmp_path / "frames").mkdir()
    for i in range(3):
        Image.fromarray(grey(50 * i)).save(tmp_path / "frames" / f"{i}.png")
    (tmp_path / "frames" / "1.png").write_bytes(b"nothing")
    with ChatServer(["a bicycle", " "]) as server:
        vlm = ("--vlm", server.url, "--vlm-model", MODEL)
        done = captions(tmp_path / "frames", *vlm, "--frame-rate", 2)
    assert done.exit_code == 0, done.output
    assert "2 without a caption" in done.stdout
    first, second, third = rows(tmp_path)
    assert "1.png" in second["error"]
    # the server answers in the order in which questions come, two of which are on their way at once
    answered, unanswered = sorted((first, third), key=lambda row: row["error"])
    assert answered["caption"] == "a bicycle" and "no answer" in unanswered["error"]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("caption\n", "has no captions"),
        ("seconds\n1\n", "caption"),
        ("caption,seconds\na,0\nb,-1\n", "line 3"),
        ("caption,seconds\na,x\n", "'x' is no position"),
    ],
)
def test_what_is_wrong_with_a_file_is_said(captions, tmp_path, content, message):
    (tmp_path / "gate.csv").write_text(content, encoding="utf-8")
    done = captions(tmp_path / "gate.csv")
    assert done.exit_code == 2 and message in done.stderr


def test_what_does_not_go_together_is_refused(captions, gate, tmp_path):
    assert "has captions already" in captions(gate, "--fps", 1).stderr
    assert "give at least one, and none empty" in captions(gate, keyword=" ").stderr
    clip = write_clip(tmp_path / "gate.mp4", [grey(60)] * 3)
    assert "name one with --vlm" in captions(clip).stderr
    assert "is for a folder of frames" in captions(clip, "--frame-rate", 2).stderr
    assert not (tmp_path / "scored.csv").exists()
    captions(gate)
    done = captions(gate)
    assert done.exit_code == 2 and "is there already" in done.stderr
    assert captions(gate, "--overwrite").exit_code == 0

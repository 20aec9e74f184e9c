"""vlad video --segments with head vlm: what the model is shown of a segment, and its score."""

from __future__ import annotations

import json

import numpy as np
import pytest
from chat_server import MODEL, ChatServer
from click.testing import CliRunner
from clips import table
from PIL import Image
from vlm_models import qwen2_vl

from vlad.cli import main
from vlad.heads import vlm_question
from vlad.vlm.context import context_images, similar_to

KEYWORDS = ("a bicycle", "a fight")
FRAMES = 37  # two segments, and five frames of a third


@pytest.fixture
def frames(drawn, tmp_path):
    """A folder of frames."""
    folder = tmp_path / "gate"
    folder.mkdir()
    write(folder, drawn, range(FRAMES))
    return folder


def write(folder, drawn, numbers):
    for number in numbers:
        pixels = np.asarray(drawn[number % 6].resize((80, 60)))
        Image.fromarray(np.roll(pixels, 3 * number, axis=1)).save(folder / f"{number:03}.png")


@pytest.fixture
def video(small_file, frames, tmp_path):
    """Runs `vlad video --segments` with keywords -> click's result."""

    def run(model, *words, keywords=KEYWORDS, name=MODEL, backbone=small_file):
        given = {"model": model, "answer": "confidence"}
        given |= {"model_name": name} if name else {}
        given |= {"keywords": list(keywords)} if keywords else {}
        params = [x for key, value in given.items() for x in ("--param", f"vlm.{key}={value}")]
        options = ["--backbone", backbone, "--device", "cpu", "--smooth", "none"]
        command = ["video", frames, "--head", "vlm", *params, *options, "--segments", *words]
        return CliRunner().invoke(main, list(map(str, [*command, "--out", tmp_path / "run"])))

    yield run
    vlm_question.loaded.cache_clear()


def kind_of(text):
    """Which of the three images a question is about."""
    return 1 if "darkened" in text else 2 if "four moments" in text else 0


def says(asked):
    """An answer that differs from question to question."""
    value = 0.1 + 0.1 * kind_of(asked.text) + 0.2 * ("a fight" in asked.text)
    value += float(np.asarray(asked.images[-1]).mean()) / 1000
    return json.dumps({"anomalous": True, "confidence": value})


def segments(frames):
    """The images of each segment, the last one filled up with its last frame."""
    images = [Image.open(path).convert("RGB") for path in sorted(frames.iterdir())]
    images += [images[-1]] * (-len(images) % 16)
    return [images[i : i + 16] for i in range(0, len(images), 16)]


def plain(frames, backbone, weights):
    """Scores of the segments, one question after the other."""
    found = []
    for images in segments(frames):
        best = [0.0, 0.0, 0.0]
        for keyword in KEYWORDS:
            shown = context_images(images, similar_to(keyword, backbone))
            for kind, image in enumerate(shown):
                value = 0.1 + 0.1 * kind + 0.2 * (keyword == "a fight")
                value += float(np.asarray(image).mean()) / 1000
                best[kind] = max(best[kind], 0.5 + value / 2)
        found.append(sum(w * x for w, x in zip(weights, best, strict=True)) / sum(weights))
    return found


def scores(out):
    return [float(row["vlm"] or "nan") for row in table(out / "scores.csv")]


@pytest.mark.parametrize("weights", [(1, 1, 1), (5, 3, 2)])
def test_the_score_of_a_segment_goes_to_its_frames(
    video, frames, small_backbone, tmp_path, weights
):
    with ChatServer(says) as server:
        done = video(server.url, "--param", f"vlm.weights={list(weights)}")
    assert done.exit_code == 0, done.output
    assert "Segments of 16 frames: head vlm asks 6 questions about each." in done.stderr
    assert "14 requests left: about 1,400 tokens to read" in done.stderr
    assert len(server.asked) == 3 * 6
    expected = np.repeat(plain(frames, small_backbone, weights), 16)[:FRAMES]
    np.testing.assert_allclose(scores(tmp_path / "run"), expected, atol=1e-6)


def test_the_model_sees_the_images_of_a_keyword(video, frames, small_backbone):
    with ChatServer(says) as server:
        assert video(server.url).exit_code == 0
    asked = [(one.text, np.asarray(one.images[0])) for one in server.asked]
    assert all(len(one.images) == 1 for one in server.asked)
    for images in segments(frames):
        for keyword in KEYWORDS:
            shown = context_images(images, similar_to(keyword, small_backbone))
            for kind, image in enumerate(shown):
                assert any(
                    keyword in text
                    and kind_of(text) == kind
                    and seen.shape == np.asarray(image).shape
                    and np.abs(seen.astype(int) - np.asarray(image)).max() <= 1
                    for text, seen in asked
                )


def test_a_stopped_run_asks_about_the_rest_alone(video, frames, tmp_path, monkeypatch):
    with ChatServer(says) as server:
        assert video(server.url).exit_code == 0
        whole, before = scores(tmp_path / "run"), len(server.asked)
        file = tmp_path / "run" / "scores.csv"
        kept = [f"{row['path']},{row['vlm']}," for row in table(file)[:20]]
        file.write_text("\n".join(["path,vlm,error", *kept]) + "\n", encoding="utf-8")
        monkeypatch.setenv("VLAD_CACHE", str(tmp_path / "empty"))
        done = video(server.url, "--resume")
    assert done.exit_code == 0, done.output
    assert len(server.asked) - before == 2 * 6  # the second segment again, and the third
    assert "8 requests left" in done.stderr
    assert scores(tmp_path / "run") == pytest.approx(whole, abs=1e-6)


def test_rows_of_four_segments_are_on_disk_before_the_next_are_asked_about(
    video, frames, drawn, tmp_path
):
    write(frames, drawn, range(FRAMES, 4 * 16 + 1))

    def counting(asked):
        found.append(len(table(tmp_path / "run" / "scores.csv")))
        return says(asked)

    found: list[int] = []
    with ChatServer(counting) as server:
        assert video(server.url, keywords=KEYWORDS[:1]).exit_code == 0
    assert found == [0] * 4 * 3 + [4 * 16] * 3


@pytest.mark.parametrize("given, left", [([], 37), (["--every", 2], 19), (["--changes", 0], None)])
def test_without_segments_the_cost_of_frames_is_said(small_file, frames, tmp_path, given, left):
    with ChatServer(says) as server:
        params = {"model": server.url, "model_name": MODEL, "answer": "confidence", "windows": 0}
        words = [x for key, value in params.items() for x in ("--param", f"vlm.{key}={value}")]
        words += ["--head", "vlm", "--backbone", small_file, "--device", "cpu", *given]
        words += ["--batch-size", 4, "--out", tmp_path / "run"]
        done = CliRunner().invoke(main, list(map(str, ["video", frames, *words])))
    vlm_question.loaded.cache_clear()
    assert done.exit_code == 0, done.output
    if left is None:  # nobody knows how many frames change
        assert "requests left" not in done.stderr
    else:
        assert f"{left - 4} requests left: about" in done.stderr


def test_a_segment_without_an_answer_has_no_score(video, tmp_path):
    def silent(asked):
        value = float(np.asarray(asked.images[-1]).mean())
        first.append(value)
        return "I would rather not." if value == first[0] else says(asked)

    first: list[float] = []
    with ChatServer(silent) as server:
        done = video(server.url, keywords=KEYWORDS[:1])
    assert done.exit_code == 0, done.output
    rows = table(tmp_path / "run" / "scores.csv")
    failed = [bool(row["error"]) for row in rows]
    assert sum(failed) in (16, 5) and failed == [
        bool(np.isnan(x)) for x in scores(tmp_path / "run")
    ]
    assert "no score of vlm (no answer" in next(row["error"] for row in rows if row["error"])


def test_damaged_frames_leave_the_others_of_a_segment(video, frames, tmp_path):
    for number in (3, *range(32, FRAMES)):  # one of the first segment, all of the last
        (frames / f"{number:03}.png").write_bytes(b"no image")
    with ChatServer(says) as server:
        done = video(server.url)
    assert done.exit_code == 0, done.output
    assert len(server.asked) == 2 * 6
    found = scores(tmp_path / "run")
    assert [n for n, x in enumerate(found) if np.isnan(x)] == [3, *range(32, FRAMES)]
    assert len({x for x in found[:16] if not np.isnan(x)}) == 1


def test_a_model_of_transformers_answers(video, tmp_path):
    folder = qwen2_vl(tmp_path / "model")
    done = video(folder, "--param", "vlm.answer=probability", name="", keywords=KEYWORDS[:1])
    assert done.exit_code == 0, done.output
    found = np.array(scores(tmp_path / "run"))
    assert (found > 0).all() and (found < 1).all()
    steps = np.flatnonzero(np.diff(found)) + 1
    assert set(steps) <= {16, 32} and len(steps)
    run = json.loads((tmp_path / "run" / "run.json").read_text())
    assert "that it shows a bicycle" in run["protocol"]["vlm"]


def test_keywords_and_words_of_the_backbone_are_needed(video, dinov2_folder):
    with ChatServer(says) as server:
        done = video(server.url, keywords=())
        assert done.exit_code == 2 and "set vlm.keywords" in done.stderr, done.output
        other = video(server.url, backbone=dinov2_folder)
        assert other.exit_code == 2 and "has no text encoder" in other.stderr, other.output
    assert not server.asked


def test_normal_images_are_refused(video, images):
    with ChatServer(says) as server:
        done = video(server.url, "--normal", images / "0.png")
    assert done.exit_code == 2 and "compares no segment with normal images" in done.stderr

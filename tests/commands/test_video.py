"""vlad video: rows with times, events, thresholds from normal footage, clips that are damaged."""

from __future__ import annotations

import json
import os

import numpy as np
import pytest
from click.testing import CliRunner
from clips import pixels, table, turn, write_clip, write_sound
from PIL import Image

from vlad.cli import main


def test_rows_have_times_and_events_have_ends(video, clip, tmp_path):
    out = tmp_path / "run"
    done = video(
        clip, "--begin-above", 0.01, "--smooth", "none", "--map-threshold", 0.001, "--clips"
    )
    assert done.exit_code == 0, done.output
    assert "memory: 2 events, above 0.01" in done.stdout
    assert "80 frames scored" in done.stdout and "Scores are not smoothed." in done.stdout
    rows = table(out / "scores.csv")
    assert [float(row["seconds"]) for row in rows] == pytest.approx([n / 10 for n in range(80)])
    assert rows[15]["time"] == "2026-01-02T03:04:06.500000Z"
    assert [row["memory_event"] for row in rows[18:32]] == ["", "", *["1"] * 10, "", ""]
    events = table(out / "events.csv")
    assert [(e["start"], e["end"], e["frames"]) for e in events] == [
        ("2.0", "2.9", "10"), ("5.0", "5.4", "5"),
    ]  # fmt: skip
    assert {e["ended"] for e in events} == {"score fell"} and events[0]["source"] == "clip.mkv"
    # the region of the event is in the image, and is followed through its frames
    first = events[0]
    assert float(first["width"]) > 0 and first["track_frames"] == "10"
    assert len([t for t in table(out / "tracks.csv") if t["event"] == "1"]) == 10
    import av

    with av.open(str(out / first["clip"])) as cut:
        assert 10 <= sum(1 for _ in cut.decode(video=0)) <= 32  # with a second on each side
    page = (out / "report.html").read_text(encoding="utf-8")
    assert '<th scope="col">Clip</th>' in page
    assert page.count('class="event"') == 2 and page.count("data:image/jpeg") == 2
    assert "style=" not in page.partition("</style>")[2]  # the page's own policy forbids it


def test_clips_are_cut_beside_a_folder_of_frames(video, clip, images, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes((images / "1.png").read_bytes())
    done = video(folder, clip, "--begin-above", 0.01, "--smooth", "none", "--clips")
    assert done.exit_code == 0, done.output
    assert done.stderr.count("is a folder of frames, so no clips are cut from it") == 1
    events = table(tmp_path / "run" / "events.csv")
    assert [e["clip"] for e in events] == ["", "clips/0002.mkv", "clips/0003.mkv"]


def test_thresholds_come_from_normal_footage_and_serve_another_run(
    video, clip, images, tmp_path, monkeypatch
):
    generator = np.random.default_rng(0)
    frames = [
        np.clip(pixels(images, 0) + generator.normal(0, 3, (1, 1, 3)), 0, 255).astype(np.uint8)
        for _ in range(120)
    ]
    quiet = write_clip(tmp_path / "quiet.mkv", frames, codec="ffv1", pixels="bgra")
    more = ["--smooth", "ewma=0.2", "--fps", 5]
    out, hours = tmp_path / "run", 12 / 3600
    few = video(clip, "--normal-footage", quiet, *more)
    assert few.exit_code == 2
    assert "1 false alarms per hour need at least 60 min of normal footage, got 12 s" in few.stderr
    done = video(
        clip, "--normal-footage", quiet, "--alarms-per-hour", 2 / hours, "--overwrite", *more
    )
    assert done.exit_code == 0, done.output
    assert "At most 600 false alarms per hour are expected" in done.stdout
    assert "causal EWMA, 0.2 s" in done.stdout
    found = json.loads((out / "thresholds.json").read_text())
    assert found["hourly"]["memory"]["hours"] == pytest.approx(hours)
    assert len(table(out / "events.csv")) == 2
    again = video(clip, "--thresholds", out / "thresholds.json", "--fps", 5, out=tmp_path / "b")
    assert again.exit_code == 0, again.output
    assert (tmp_path / "b" / "events.csv").read_bytes() == (out / "events.csv").read_bytes()
    other = video(clip, "--thresholds", out / "thresholds.json", "--fps", 2, out=tmp_path / "c")
    assert "the thresholds were found with other fps (5.0 there, 2.0 here)" in other.stderr


def test_a_folder_of_frames_is_a_video(video, images, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(12):  # 10 comes after 9
        source = 1 if number in (9, 10) else 0
        (folder / f"f{number}.png").write_bytes((images / f"{source}.png").read_bytes())
    (folder / "f5.png").write_bytes(b"no image")
    done = video(folder, "--begin-above", 0.01, "--frame-rate", 2, "--smooth", "none", "--clips")
    assert done.exit_code == 0, done.output
    assert "11 frames scored, 1 failed" in done.stdout
    assert "is a folder of frames, so no clips are cut from it" in done.stderr
    assert "over the gap" not in done.stderr
    (event,) = table(tmp_path / "run" / "events.csv")
    assert (event["start"], event["end"], event["clip"]) == ("4.5", "5.0", "")
    # frames that are farther apart than the gap
    done = video(folder, "--begin-above", 0.01, "--frame-rate", 2, "--gap", 0.4, "--resume")
    assert "frames are 0.5 s apart, over the gap of 0.4 s" in done.stderr, done.output
    assert len(table(tmp_path / "run" / "events.csv")) == 2


def test_clips_that_cannot_be_read_are_left_out(video, clip, tmp_path):
    sound = write_sound(tmp_path / "sound.mkv")
    empty = tmp_path / "empty.mp4"
    empty.write_bytes(b"")
    cut = tmp_path / "cut.mkv"
    cut.write_bytes(clip.read_bytes()[: os.path.getsize(clip) // 2])
    for bad, said in ((sound, "has no video stream"), (empty, "cannot be read as video")):
        done = video(bad, out=tmp_path / bad.stem)
        assert done.exit_code == 2 and said in done.stderr
    done = video(empty, cut, clip, sound)
    assert done.exit_code == 0, done.output
    assert "cut.mkv ends early" in done.stderr
    assert done.stderr.count("Left out: ") == 2 and "empty.mp4 cannot be read" in done.stderr
    sources = {
        os.path.basename(os.path.dirname(r["path"])) for r in table(tmp_path / "run/scores.csv")
    }
    assert sources == {"cut.mkv", "clip.mkv"}


@pytest.mark.parametrize(
    ("options", "said"),
    [
        (["--begin-above", 1, "--normal-footage", "clip"], "each set when an event begins"),
        (["--end-below", 1], "--end-below is for --begin-above"),
        (["--alarms-per-hour", 1], "--alarms-per-hour needs footage"),
        (["--begin-above", 1, "--end-below", 2], "--end-below 2 is above --begin-above 1"),
        (["--smooth", "mean"], "mean is not a way to smooth scores"),
        (["--map-threshold", 1], "--map-threshold is for --begin-above"),
        (["--map-threshold", 1, "--normal-footage", "clip"], "--normal-footage sets the map"),
        (["--frame-rate", 5], "--frame-rate is for a folder of frames"),
        (["--begin-above", 1, "--head", "memory,padim"], "--begin-above is for one head"),
    ],
)
def test_options_that_do_not_fit(video, clip, options, said):
    done = video(clip, *[clip if word == "clip" else word for word in options])
    assert done.exit_code == 2 and said in done.stderr, done.output


def test_sources_that_are_no_clips(video, clip, tmp_path):
    assert "is no video file and no folder of frames" in video(tmp_path / "none.mp4").stderr
    other = tmp_path / "other"
    other.mkdir()
    (other / "clip.mkv").write_bytes(clip.read_bytes())
    assert "2 clips are named clip.mkv" in video(clip, other / "clip.mkv").stderr
    assert "holds no images" in video(other).stderr


def test_without_thresholds_there_are_scores_alone(video, clip, tmp_path):
    done = video(clip)
    assert done.exit_code == 0 and "No events: nothing decides what one is" in done.stdout
    assert not (tmp_path / "run" / "events.csv").exists()
    assert "memory_smoothed" in table(tmp_path / "run" / "scores.csv")[0]


@pytest.fixture
def detector(images, small_file, tmp_path):
    """A detector with a threshold, fitted on noisy images like most frames of the clip."""
    generator, good = np.random.default_rng(0), tmp_path / "good"
    good.mkdir()
    for number in range(6):
        noisy = pixels(images, 0) + generator.normal(0, 8, pixels(images, 0).shape)
        Image.fromarray(np.clip(noisy, 0, 255).astype(np.uint8)).save(good / f"{number}.png")
    words = ["fit", good, "--k-shot", 2, "--false-alarms", 0.25, "--backbone", small_file]
    words += ["--device", "cpu", "--out", tmp_path / "nut"]
    done = CliRunner().invoke(main, list(map(str, words)))
    assert done.exit_code == 0, done.output
    return tmp_path / "nut"


def with_detector(detector, *words):
    words = ["video", *words, "--detector", detector, "--device", "cpu"]
    return CliRunner().invoke(main, list(map(str, words)))


def test_the_threshold_of_a_detector_makes_events(clip, detector, tmp_path):
    from vlad import Detector

    calibration = Detector.load(detector).calibration_
    out = tmp_path / "run"
    done = with_detector(detector, clip, "--smooth", "none", "--out", out)
    assert done.exit_code == 0, done.output
    said = "The threshold is that of the detector, set on single images: it promises no rate"
    assert said in done.stdout and said in (out / "report.html").read_text(encoding="utf-8")
    found = json.loads((out / "thresholds.json").read_text())
    assert found["begin"] == found["end"] == dict(calibration.thresholds)
    assert found["regions"] == dict(calibration.map_thresholds)
    rows = table(out / "scores.csv")
    above = [float(row["memory"]) > calibration.thresholds["memory"] for row in rows]
    assert any(above) and [bool(row["memory_event"]) for row in rows] == above
    # of another run with this detector, and no other
    again = with_detector(
        detector, clip, "--thresholds", out / "thresholds.json", "--out", tmp_path / "b"
    )
    assert again.exit_code == 0, again.output
    assert (tmp_path / "b" / "events.csv").read_bytes() == (out / "events.csv").read_bytes()


def test_numbers_and_footage_replace_what_a_detector_brings(clip, detector, tmp_path):
    def thresholds(*words):
        done = with_detector(detector, clip, *words, "--out", tmp_path / "run", "--overwrite")
        assert done.exit_code == 0, done.output
        return json.loads((tmp_path / "run" / "thresholds.json").read_text())

    own = thresholds()
    assert thresholds("--map-threshold", 0.5)["regions"] == {"memory": 0.5}
    given = thresholds("--begin-above", 0.25)
    assert given["begin"] == {"memory": 0.25} and given["note"] == ""
    assert given["regions"] == own["regions"]
    found = thresholds("--normal-footage", clip, "--alarms-per-hour", 1000)
    assert found["note"] == "" and found["hourly"]["memory"]["rate"] == 1000


def test_a_clip_that_is_gone_before_the_report_leaves_its_events(
    video, clip, tmp_path, monkeypatch
):
    from vlad.errors import InputError
    from vlad.runs import peaks

    def gone(*given):
        raise InputError("clip.mkv cannot be read as video; check the file.")

    monkeypatch.setattr(peaks, "read_frames", gone)
    done = video(clip, "--begin-above", 0.01, "--smooth", "none")
    assert done.exit_code == 0, done.output
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count('class="event"') == 2 and "data:image/jpeg" not in page


def test_a_turned_video_is_scored_upright(video, images, tmp_path):
    plain = write_clip(tmp_path / "plain.mp4", [pixels(images, 1)] * 3)
    turned = turn(plain, tmp_path / "turned.mp4")
    options = ("--begin-above", 0.0001, "--map-threshold", -1, "--smooth", "none")
    assert video(turned, *options).exit_code == 0
    with Image.open(images / "1.png") as image:
        width, height = image.size
    (event,) = table(tmp_path / "run" / "events.csv")
    # its only region is the whole frame
    assert (float(event["width"]), float(event["height"])) == (height, width)


def test_ten_bits_score_as_eight(video, images, tmp_path):
    frames = [pixels(images, number) for number in (0, 1, 2)]
    scores = {}
    for name, form in (("eight", "yuv444p"), ("ten", "yuv444p10le")):
        write_clip(tmp_path / f"{name}.mkv", frames, codec="ffv1", pixels=form)
        assert video(tmp_path / f"{name}.mkv", out=tmp_path / name).exit_code == 0
        scores[name] = [float(row["memory"]) for row in table(tmp_path / name / "scores.csv")]
    assert scores["ten"] == pytest.approx(scores["eight"], abs=0.01)
    assert np.ptp(scores["ten"]) > 0.02


def test_a_size_that_changes_is_scored_on(video, images, tmp_path):
    sizes = [(64, 48), (96, 80)]
    parts = []
    for number, size in enumerate(sizes):
        with Image.open(images / "1.png") as image:
            frame = np.asarray(image.convert("RGB").resize(size))
        path = tmp_path / f"{number}.ts"
        parts.append(write_clip(path, [frame] * 3, codec="mpeg2video", rate=25).read_bytes())
    (tmp_path / "both.ts").write_bytes(b"".join(parts))
    options = ("--begin-above", 0.0001, "--map-threshold", -1, "--smooth", "none", "--gap", 1000)
    done = video(tmp_path / "both.ts", *options)
    assert done.exit_code == 0, done.output
    boxes = {(float(t["width"]), float(t["height"])) for t in table(tmp_path / "run/tracks.csv")}
    assert boxes == set(sizes)


def test_a_video_without_frames_leaves_the_others_scored(video, clip, tmp_path):
    frames = [np.zeros((48, 64, 3), np.uint8)] * 3
    path = write_clip(tmp_path / "none.avi", frames, codec="mjpeg", pixels="yuvj420p")
    content = path.read_bytes()
    path.write_bytes(content[: content.index(b"movi") + 4])
    alone = video(path)
    assert alone.exit_code == 2 and "has no frame of video" in alone.stderr
    more = ("--begin-above", 0.01, "--smooth", "none", "--clips")
    done = video(path, clip, "--overwrite", *more)
    assert done.exit_code == 0 and "Left out:" in done.stderr, done.output
    assert "80 frames scored" in done.stdout
    # the events of the other are cut from it, and shown by its frames
    events = table(tmp_path / "run" / "events.csv")
    assert [event["clip"] for event in events] == ["clips/0001.mkv", "clips/0002.mkv"]
    page = (tmp_path / "run" / "report.html").read_text(encoding="utf-8")
    assert page.count("data:image/jpeg") == 2


def test_damage_inside_is_a_gap_and_costs_no_other_frame(video, images, tmp_path):
    frames = [pixels(images, 1)] * 40
    path = write_clip(tmp_path / "a.mov", frames, codec="png", pixels="rgb24")
    content = bytearray(path.read_bytes())
    half = len(content) // 2
    content[half : half + len(content) // 4] = bytes(len(content) // 4)
    path.write_bytes(content)
    done = video(path, "--begin-above", 0.0001, "--smooth", "none", "--gap", 0.5)
    assert done.exit_code == 0 and "damaged parts left out" in done.stderr, done.output
    first, second = table(tmp_path / "run" / "events.csv")
    assert first["ended"] == "gap in the frames" and second["ended"] == "end of the frames"

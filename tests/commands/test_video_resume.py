"""vlad video --resume: what a stopped run keeps, and what may not change on the way."""

from __future__ import annotations

import json

from clips import table


def test_a_stopped_run_goes_on(video, clip, tmp_path):
    out = tmp_path / "run"
    assert video(clip, "--begin-above", 0.01).exit_code == 0
    events = (out / "events.csv").read_bytes()
    rows = (out / "scores.csv").read_text(encoding="utf-8").splitlines()
    # as it was killed: half of the rows, in the journal's own columns
    header = "path,memory,error"
    kept = [",".join([*line.split(",")[:2], ""]) for line in rows[1:41]]
    (out / "scores.csv").write_text("\n".join([header, *kept]) + "\n", encoding="utf-8")
    assert "already holds" in video(clip, "--begin-above", 0.01).stderr
    done = video(clip, "--begin-above", 0.01, "--resume")
    assert done.exit_code == 0, done.output
    assert "continuing after frame 39" in done.stderr
    assert (out / "scores.csv").read_text(encoding="utf-8").splitlines() == rows
    assert (out / "events.csv").read_bytes() == events


def test_frames_without_a_time_are_scored_again(video, clip, tmp_path):
    out = tmp_path / "run"
    options = ("--begin-above", 0.01, "--smooth", "none")
    assert video(clip, *options).exit_code == 0
    events, scores = ((out / name).read_bytes() for name in ("events.csv", "scores.csv"))
    states = (out / "files.csv").read_text(encoding="utf-8").splitlines(keepends=True)
    (out / "files.csv").write_text("".join(states[:72]), encoding="utf-8")  # as a kill leaves them
    done = video(clip, *options, "--resume")
    assert done.exit_code == 0 and "continuing after frame 71" in done.stderr, done.output
    assert (out / "events.csv").read_bytes() == events
    assert (out / "scores.csv").read_bytes() == scores


def test_another_sampling_does_not_go_on(video, clip, tmp_path):
    assert video(clip, "--every", 2).exit_code == 0
    for other, said in (
        (["--every", 3], "sampling.every: 2 there, 3 now"),
        (["--every", 2, "--changes", 1], "sampling.changes: None there, 1.0 now"),
    ):
        done = video(clip, *other, "--resume")
        assert done.exit_code == 2 and said in done.stderr, done.output
    assert video(clip, "--every", 2, "--resume").exit_code == 0


def test_another_frame_rate_does_not_go_on(video, images, tmp_path):
    folder = tmp_path / "frames"
    folder.mkdir()
    for number in range(4):
        (folder / f"{number}.png").write_bytes((images / "0.png").read_bytes())
    assert video(folder).exit_code == 0
    done = video(folder, "--frame-rate", 20, "--resume")
    assert done.exit_code == 2 and "is not the video whose frames" in done.stderr, done.output


def test_regions_are_found_above_one_map_value(video, clip, tmp_path):
    options = ("--begin-above", 0.01, "--smooth", "none")
    assert video(clip, *options).exit_code == 0
    done = video(clip, *options, "--map-threshold", 0.001, "--resume")
    assert done.exit_code == 2, done.output
    assert "above other map values (none there, memory 0.001 here)" in done.stderr
    # where an event begins may change
    assert video(clip, "--begin-above", 0.02, "--resume").exit_code == 0
    found = json.loads((tmp_path / "run" / "thresholds.json").read_text())
    assert found["begin"] == {"memory": 0.02}


def test_clips_of_an_earlier_command_do_not_stay(video, clip, tmp_path):
    options = ("--smooth", "none", "--clips")
    assert video(clip, "--begin-above", 0.01, *options).exit_code == 0
    assert len(list((tmp_path / "run" / "clips").iterdir())) == 2
    assert video(clip, "--begin-above", 0.01, "--gap", 1000, "--resume", "--clips").exit_code == 0
    events = table(tmp_path / "run" / "events.csv")
    kept = {f"clips/{file.name}" for file in (tmp_path / "run" / "clips").iterdir()}
    assert kept == {event["clip"] for event in events} and len(kept) == 1


def test_a_command_that_was_stopped_between_notes_and_rows_goes_on(
    video, clip, tmp_path, monkeypatch
):
    from vlad.runs import clips

    out, whole = tmp_path / "run", tmp_path / "whole"
    options = ("--begin-above", 0.01, "--map-threshold", 0.001)
    assert video(clip, *options, out=whole).exit_code == 0
    keep, calls = clips.keep_scored, []

    def stopped(*given):
        calls.append(given)
        if len(calls) == 4:
            raise KeyboardInterrupt
        return keep(*given)

    monkeypatch.setattr(clips, "keep_scored", stopped)
    done = video(clip, *options)
    assert done.exit_code == 130 and "add --resume to continue" in done.stderr
    monkeypatch.undo()
    with open(out / "frames.jsonl", "ab") as notes:
        notes.write(b'["torn')  # as a kill leaves it
    done = video(clip, *options, "--resume")
    assert done.exit_code == 0 and "continuing after frame 23" in done.stderr, done.output
    for name in ("events.csv", "tracks.csv"):
        assert (out / name).read_bytes() == (whole / name).read_bytes()
    assert [row["memory"] for row in table(out / "scores.csv")] == [
        row["memory"] for row in table(whole / "scores.csv")
    ]

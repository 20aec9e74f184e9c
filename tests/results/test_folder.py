"""The folder of a run: nothing lost, nothing half written, nothing mixed."""

import csv
import json
import math
import os
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest

from vlad.errors import OutputError
from vlad.results.folder import RunFolder
from vlad.results.maps import read_map
from vlad.results.rows import Row
from vlad.types import Sample

HEADS = {"winclip": (0.0, 1.0), "memory": (0.0, 2.0)}
SETTINGS = {"category": "nut", "seed": 4, "params": {"a": 0.1, "b": 2.5}}


def folder(tmp_path, **settings) -> RunFolder:
    return RunFolder(tmp_path / "run", HEADS, {**SETTINGS, **settings})


def row(path, score=0.5) -> Row:
    return Row(path, {"winclip": score, "memory": 2 * score})


def scored(run: RunFolder) -> set[str]:
    return {path for path in run.rows if run.rows.scored(path)}


def read_csv(path) -> list[list[str]]:
    with open(path, newline="", encoding="utf-8", errors="surrogateescape") as file:
        return list(csv.reader(file))


def names_in(path) -> set[str]:
    return {str(p.relative_to(path)) for p in path.rglob("*")}


# --- starting, resuming, refusing


def test_settings_and_map_ranges_are_on_disk_before_the_first_score(tmp_path):
    run = folder(tmp_path).create()
    written = json.loads((run.out / "run.json").read_text())
    assert written["category"] == "nut"
    assert written["heads"] == ["winclip", "memory"]
    assert written["map_ranges"] == {"winclip": [0.0, 1.0], "memory": [0.0, 2.0]}
    assert names_in(run.out) == {"run.json", "scores.csv"}


def test_a_second_run_is_refused_and_the_first_stays(tmp_path):
    folder(tmp_path).create().append([row("a.png")])
    with pytest.raises(OutputError, match=r"`resume` .* `overwrite` .* another folder"):
        folder(tmp_path, category="other").create()
    assert scored(folder(tmp_path).resume()) == {"a.png"}


def test_overwrite_removes_the_old_run_and_nothing_else(tmp_path):
    run = folder(tmp_path).create()
    sample = Sample(Path("a.png"), "a")
    run.write_map("winclip", sample, np.zeros((4, 4)), (4, 4))
    run.append([row("a.png")])
    run.finish(["a.png"])
    (run.out / "notes.txt").write_text("mine")
    fresh = folder(tmp_path, category="other").create(overwrite=True)
    assert names_in(run.out) == {"run.json", "scores.csv", "notes.txt"}
    assert scored(fresh) == set() and scored(folder(tmp_path, category="other").resume()) == set()


def test_overwrite_never_deletes_what_vlad_did_not_write(tmp_path):
    (tmp_path / "run" / "maps").mkdir(parents=True)
    (tmp_path / "run" / "maps" / "berlin.png").write_text("a city map")
    (tmp_path / "run" / "run.json").write_text('{"of": "another program"}')
    for overwrite in (False, True):
        with pytest.raises(OutputError, match="no vlad run"):
            folder(tmp_path).create(overwrite)
    assert names_in(tmp_path / "run") == {"maps", "maps/berlin.png", "run.json"}


def test_resume_names_every_setting_that_differs(tmp_path):
    folder(tmp_path).create()
    with pytest.raises(OutputError) as error:
        folder(tmp_path, seed=1, params={"a": 0.1, "b": 2.6}).resume()
    assert "seed: 4 there, 1 now" in str(error.value)
    assert "params.b: 2.5 there, 2.6 now" in str(error.value)
    assert "category" not in str(error.value) and "params.a" not in str(error.value)


def test_resume_refuses_other_heads_even_in_another_order(tmp_path):
    folder(tmp_path).create()
    other = RunFolder(tmp_path / "run", dict(reversed(HEADS.items())), SETTINGS)
    with pytest.raises(OutputError, match="heads"):
        other.resume()


def test_resume_without_a_run_starts_one(tmp_path):
    run = folder(tmp_path).resume()
    assert scored(run) == set() and (run.out / "run.json").exists()


def test_settings_with_tuples_and_paths_of_any_language_can_be_resumed(tmp_path):
    settings = {"references": ("größe.png", "图.png", "caf\udce9.png")}
    folder(tmp_path, **settings).create()
    folder(tmp_path, **settings).resume()


@pytest.mark.parametrize("start", ["create", "resume"])
def test_a_place_that_cannot_be_written_to_is_one_clear_error(tmp_path, start):
    (tmp_path / "file").write_text("in the way")
    run = RunFolder(tmp_path / "file" / "run", HEADS, SETTINGS)
    with pytest.raises(OutputError, match=r"cannot write .*file.run"):
        getattr(run, start)()
    assert (tmp_path / "file").read_text() == "in the way"


def test_scores_that_cannot_be_opened_are_noticed_on_resume(tmp_path):
    folder(tmp_path).create().append([row("a.png")])
    # the tests may run as root, whom permissions do not stop; a folder in the way stops everyone
    (tmp_path / "run" / "scores.csv").rename(tmp_path / "kept.csv")
    (tmp_path / "run" / "scores.csv").mkdir()
    with pytest.raises(OutputError, match=r"scores\.csv"):
        folder(tmp_path).resume()


# --- scores


def test_scores_come_back_exactly_and_typed(tmp_path):
    scores = [0.1 + 0.2, 1e-300, -0.0, math.pi * 1e20, float(np.float32(0.1)), math.inf]
    run = folder(tmp_path).create()
    run.append([Row(f"{i}.png", {"winclip": s}) for i, s in enumerate(scores)])
    again = folder(tmp_path).resume()
    again.finish([])
    assert [repr(again.rows[f"{i}.png"].scores["winclip"]) for i in range(6)] == list(
        map(repr, scores)
    )
    table = pq.read_table(run.out / "scores.parquet")
    assert table.schema.names == ["path", "winclip", "memory", "error"]
    assert table["winclip"].to_pylist() == scores
    assert str(table.schema.field("memory").type) == "double"
    assert table["memory"].null_count == table["error"].null_count == 6
    assert [r[1] for r in read_csv(run.out / "scores.csv")[1:]] == [repr(s) for s in scores]


@pytest.mark.parametrize(
    "name",
    [
        *("a,b.png", 'say "hi".png', "two\nlines.png", "carriage\rreturn.png", "\u2028.png"),
        *("größe 图 🌰.png", "caf\udce9.png", " space.png ", "=1+1.png", "'.png"),
    ],
)
def test_any_file_name_survives_csv_resume_and_parquet(tmp_path, name):
    run = folder(tmp_path).create()
    run.append([row(name), Row(f"bad/{name}", error=f"cannot read {name}: no, really")])
    again = folder(tmp_path).resume()
    assert scored(again) == {name}
    assert again.rows[f"bad/{name}"].error == f"cannot read {name}: no, really"
    again.finish([name])
    shown = f"./{name}" if name.startswith("=") else name  # no formula, and the same file
    assert read_csv(run.out / "scores.csv")[1] == [shown, "0.5", "1.0", ""]
    in_parquet = pq.read_table(run.out / "scores.parquet")["path"].to_pylist()[0]
    assert in_parquet == name.replace("\udce9", "\\xe9")


def test_finish_puts_rows_in_input_order_and_keeps_those_of_earlier_inputs(tmp_path):
    run = folder(tmp_path).create()
    run.append([row("c"), row("a")])
    run.append([row("b")])
    run.finish(["a", Path("b"), "never scored"])
    assert list(run.rows) == ["a", "b", "c"]
    assert [r[0] for r in read_csv(run.scores_csv)] == ["path", "a", "b", "c"]


def test_failed_images_are_tried_again_and_replaced(tmp_path):
    run = folder(tmp_path).create()
    run.append([row("a"), Row("b", error="cut short")])
    again = folder(tmp_path).resume()
    assert scored(again) == {"a"}
    again.append([row("b", 0.25)])
    assert scored(folder(tmp_path).resume()) == {"a", "b"}
    again.finish(["a", "b"])
    assert read_csv(run.scores_csv)[1:] == [["a", "0.5", "1.0", ""], ["b", "0.25", "0.5", ""]]


@pytest.mark.parametrize(
    "edited",
    [
        b"\xef\xbb\xbfpath,winclip,memory,error\r\na,0.5,1.0,\r\nb,,,bad\r\n",
        b'"path","winclip","memory","error"\n"a","0.5","1.0",""\n"b","","","bad"\n',
        b"path,winclip,memory,note,error\na,0.5,1.0,mine,\nb,,,,bad\n,,,,\n",
    ],
)
def test_what_a_spreadsheet_has_saved_is_read(tmp_path, edited):
    run = folder(tmp_path).create()
    run.scores_csv.write_bytes(edited)
    expected = {"a": row("a"), "b": Row("b", error="bad")}
    assert dict(folder(tmp_path).resume().rows) == expected
    assert read_csv(run.scores_csv)[1:] == [["a", "0.5", "1.0", ""], ["b", "", "", "bad"]]


@pytest.mark.parametrize(
    "edited",
    [
        b"path;winclip;memory;error\na;0.5;1.0;\n",
        b"error,path,winclip,memory\n,a,0.5,1.0\n",
        b'path,winclip,memory,error\na,"0,5",1.0,\n',
        b"path,winclip,memory,error\ra,0.5,1.0,\rb,,,bad\r",
        b'path,winclip,memory,error\na"b,0.5,1.0,\nc,0.5,1.0,\n',
        b"path,winclip,memory,error\na,0.5,1.0\n",
        "path,winclip,memory,error\na,0.5,1.0,\n".encode("utf-16"),
    ],
)
def test_what_cannot_be_read_for_sure_is_refused_and_stays(tmp_path, edited):
    run = folder(tmp_path).create()
    run.scores_csv.write_bytes(edited)
    with pytest.raises(OutputError, match="cannot be read back"):
        folder(tmp_path).resume()
    assert run.scores_csv.read_bytes() == edited


def test_a_row_that_is_taken_back_is_no_row(tmp_path):
    run = folder(tmp_path).create()
    run.append([row("a"), row("b")])
    run.append([Row("a")])
    assert list(folder(tmp_path).resume().rows) == ["b"]


@pytest.mark.parametrize("cut", [1, 2, 5, 9, 14])
def test_a_torn_last_line_is_dropped_and_nothing_before_it(tmp_path, cut):
    run = folder(tmp_path).create()
    run.append([row("a"), row('quoted\n"b"', 0.125)])
    whole = run.scores_csv.read_bytes()
    run.scores_csv.write_bytes(whole[:-cut])
    again = folder(tmp_path).resume()
    assert scored(again) == {"a"}
    again.append([row('quoted\n"b"', 0.125)])
    assert run.scores_csv.read_bytes() == whole


def test_a_run_stopped_before_the_first_row_can_be_resumed(tmp_path):
    run = folder(tmp_path).create()
    header = run.scores_csv.read_bytes()
    for left in (b"", header[:4]):
        run.scores_csv.write_bytes(left)
        folder(tmp_path).resume()
        assert run.scores_csv.read_bytes() == header
    run.scores_csv.unlink()
    assert scored(folder(tmp_path).resume()) == set()


def test_scores_changed_by_hand_are_refused_and_kept(tmp_path):
    run = folder(tmp_path).create()
    for text in ("path,score\na,1\n", run.scores_csv.read_text() + "a,high,1.0,\n"):
        run.scores_csv.write_text(text)
        with pytest.raises(OutputError, match=r"scores\.csv cannot be read back"):
            folder(tmp_path).resume()
        assert run.scores_csv.read_text() == text


# --- maps


@pytest.mark.parametrize(
    ("image", "expected"),
    [((300, 200), (200, 300)), ((4000, 2000), (512, 1024)), ((10, 5000), (1024, 2))],
)
def test_maps_have_the_proportions_of_their_images(tmp_path, image, expected):
    run = folder(tmp_path).create()
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    path = run.write_map("winclip", Sample(Path("x/a.b.png"), "x/a.b"), ramp, image)
    assert path == run.out / "maps" / "winclip" / "x" / "a.b.png"
    back = read_map(path)
    assert back.shape == expected
    assert (np.diff(back, axis=1) >= 0).all(), "the ramp still runs from left to right"


def test_maps_that_cannot_be_written_leave_no_scraps(tmp_path):
    run = folder(tmp_path).create()
    run.map_path("winclip", Sample(Path("a.png"), "a")).mkdir(parents=True)
    with pytest.raises(OutputError, match=r"a\.png"):
        run.write_map("winclip", Sample(Path("a.png"), "a"), np.zeros((4, 4)), (4, 4))
    assert names_in(run.out / "maps") == {"winclip", "winclip/a.png"}


def test_an_image_without_one_of_its_maps_is_not_finished(tmp_path):
    run, sample = folder(tmp_path).create(), Sample(Path("a.png"), "a")
    for head in HEADS:
        run.write_map(head, sample, np.zeros((4, 4)), (4, 4))
    run.append([row("a.png")])
    run = folder(tmp_path).resume()
    assert run.has(sample, HEADS)
    run.map_path("memory", sample).unlink()
    assert run.has(sample, ["winclip"]) and not run.has(sample, HEADS)


@pytest.mark.parametrize(
    ("maps", "expected"),
    [
        ({"a.jpg": "a", "a.png": "a.png"}, {"a.jpg": "a", "a.png": "a.png"}),  # as they came
        ({"a.jpg": "a.jpg", "a.png": "a"}, {"a.jpg": "a.jpg", "a.png": "a"}),
        ({"a.png": "a"}, {"a.jpg": "a.jpg", "a.png": "a"}),  # a.jpg failed
        # a.png was alone at first, and its map of that time is still there
        ({"": "a", "a.jpg": "a.jpg", "a.png": "a.png"}, {"a.jpg": "a.jpg", "a.png": "a.png"}),
    ],
)
def test_images_of_an_opened_run_go_by_the_names_of_their_own_maps(tmp_path, maps, expected):
    run = folder(tmp_path, root=os.path.realpath(tmp_path)).create()
    for path, name in maps.items():
        for head in HEADS:
            run.write_map(head, Sample(Path(path), name), np.zeros((4, 4)), (4, 4))
    paths = [str(tmp_path / name) for name in ("a.jpg", "a.png")]
    run.append([row(p) if Path(p).name in maps else Row(p, error="cut short") for p in paths])
    found = {s.path.name: s.id for s in RunFolder.open(run.out).samples()}
    assert found == expected

"""The folder of a run: nothing lost, nothing half written, nothing mixed."""

import csv
import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from vlad.draw import shared_scales, write_overlays
from vlad.errors import InputError, OutputError
from vlad.images import read_image
from vlad.mapfiles import read_map, write_map
from vlad.rows import Row
from vlad.sinks import RunFolder
from vlad.types import Sample

HEADS = {"winclip": (0.0, 1.0), "memory": (0.0, 2.0)}
SETTINGS = {"category": "nut", "k_shot": 4, "versions": {"vlad": "0.1", "torch": "2.5"}}


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
    with pytest.raises(OutputError, match=r"--resume .* --overwrite .* another folder"):
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
        with pytest.raises(OutputError, match="no run of vlad"):
            folder(tmp_path).create(overwrite)
    assert names_in(tmp_path / "run") == {"maps", "maps/berlin.png", "run.json"}


def test_resume_names_every_setting_that_differs(tmp_path):
    folder(tmp_path).create()
    with pytest.raises(OutputError) as error:
        folder(tmp_path, k_shot=1, versions={"vlad": "0.1", "torch": "2.6"}).resume()
    assert "k_shot: 4 there, 1 now" in str(error.value)
    assert "versions.torch: 2.5 there, 2.6 now" in str(error.value)
    assert "category" not in str(error.value) and "versions.vlad" not in str(error.value)


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


def test_failed_pictures_are_tried_again_and_replaced(tmp_path):
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


@pytest.mark.parametrize("value_range", [(0.0, 1.0), (-3.0, 17.0), (0.0, 1e-4)])
def test_a_png_map_comes_back_within_one_level_of_its_range(tmp_path, value_range):
    low, high = value_range
    values = np.random.default_rng(0).uniform(low, high, (33, 47)).astype(np.float32)
    back = read_map(write_map(tmp_path / "m.png", values, (47, 33), value_range))
    assert back.dtype == np.float32 and back.shape == values.shape
    assert np.abs(back.astype(float) - values).max() <= (high - low) / 65535


def test_a_png_map_is_16_bit_grey_and_holds_its_range(tmp_path):
    with Image.open(write_map(tmp_path / "m.png", np.eye(5), (5, 5), (0, 2))) as image:
        assert image.mode.startswith("I;16")
        assert (float(image.text["low"]), float(image.text["high"])) == (0, 2)
        assert np.asarray(image).max() == round(65535 / 2)


def test_maps_are_never_stretched_per_picture(tmp_path):
    quiet, loud = np.full((8, 8), 0.25), np.full((8, 8), 0.25)
    quiet[2, 2], loud[2, 2] = 0.26, 0.9
    for name, values in (("quiet", quiet), ("loud", loud)):
        back = read_map(write_map(tmp_path / f"{name}.png", values, (8, 8), (0.0, 1.0)))
        np.testing.assert_allclose(back, values, atol=1 / 65535)


def test_values_outside_the_range_are_cut_off_and_npy_keeps_them(tmp_path):
    values = np.array([[-1.0, 0.5], [0.5, 3.0]])
    png = read_map(write_map(tmp_path / "m.png", values, (2, 2), (0.0, 1.0)))
    assert png[0, 0] == 0 and png[1, 1] == 1
    npy = read_map(write_map(tmp_path / "m.npy", values, (2, 2), (0.0, 1.0)))
    np.testing.assert_array_equal(npy, values.astype(np.float32))


@pytest.mark.parametrize("name", ["m.png", "m.npy"])
@pytest.mark.parametrize("share", [0, 0.1, 0.9])
def test_a_damaged_map_is_one_sentence(tmp_path, name, share):
    path = write_map(tmp_path / name, np.random.rand(99, 99), (99, 99), (0.0, 1.0))
    whole = path.read_bytes()
    path.write_bytes(whole[: int(share * len(whole))])
    with pytest.raises(InputError, match=rf"cannot read the map .*{name} .*remove it .*--resume"):
        read_map(path)


@pytest.mark.parametrize(
    ("picture", "expected"),
    [((300, 200), (200, 300)), ((4000, 2000), (512, 1024)), ((10, 5000), (1024, 2))],
)
def test_maps_have_the_proportions_of_their_pictures(tmp_path, picture, expected):
    run = folder(tmp_path).create()
    ramp = np.tile(np.linspace(0, 1, 64), (64, 1))
    path = run.write_map("winclip", Sample(Path("x/a.b.png"), "x/a.b"), ramp, picture)
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


# --- interruption

SCORER = """
import sys, time
import numpy as np
from pathlib import Path
from vlad.rows import Row
from vlad.sinks import RunFolder
from vlad.types import Sample

out, pictures, count, wait = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
run = RunFolder(out, {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
for i in range(count):
    path = str(pictures / f"{i}.png")
    if run.rows.scored(path):
        continue
    values = np.random.default_rng(i).random((16, 16))
    run.write_map("winclip", Sample(Path(path), str(i)), values, (24, 16))
    run.append([Row(path, {"winclip": float(values.max())})])
    print(i, flush=True)
    time.sleep(float(wait))
"""


def start(out, pictures, count, wait=0.0):
    command = [sys.executable, "-c", SCORER, str(out), str(pictures), str(count), str(wait)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)


def finish(out, pictures, count):
    samples = [Sample(pictures / f"{i}.png", str(i)) for i in range(count)]
    run = RunFolder(out, {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
    run.finish([sample.path for sample in samples])
    write_overlays(run, samples, shared_scales(run, samples), read_image)


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_a_killed_run_keeps_its_rows_and_ends_like_one_never_stopped(tmp_path):
    count, pictures = 12, tmp_path / "pictures"
    pictures.mkdir()
    for i in range(count):
        Image.new("RGB", (24, 16), (20 * i, 80, 120)).save(pictures / f"{i}.png")
    assert start(tmp_path / "straight", pictures, count).wait() == 0

    process = start(tmp_path / "killed", pictures, count, wait=0.02)
    printed = [int(process.stdout.readline()) for _ in range(5)]
    process.send_signal(signal.SIGKILL)
    printed += [int(line) for line in process.communicate()[0].splitlines()]
    assert process.returncode == -signal.SIGKILL and len(printed) < count
    kept = RunFolder(tmp_path / "killed", {"winclip": (0.0, 1.0)}, {"category": "nut"}).resume()
    assert {str(pictures / f"{i}.png") for i in printed} <= scored(kept)
    assert len(scored(kept)) < count

    # a write in full swing leaves half a row
    with open(kept.scores_csv, "ab") as file:
        file.write(str(pictures / "11.png").encode() + b",0.9")

    resumed = start(tmp_path / "killed", pictures, count)
    scored_again = {int(line) for line in resumed.communicate()[0].splitlines()}
    assert resumed.returncode == 0
    assert len(scored_again) == count - len(scored(kept)) and not scored_again & set(printed)

    for name in ("straight", "killed"):
        finish(tmp_path / name, pictures, count)
    straight, killed = contents(tmp_path / "straight"), contents(tmp_path / "killed")
    assert straight == killed
    assert len(straight) == len(["run.json", "scores.csv", "scores.parquet"]) + 2 * count


def contents(path) -> dict[str, bytes]:
    return {str(p.relative_to(path)): p.read_bytes() for p in path.rglob("*") if p.is_file()}


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
def test_pictures_of_an_opened_run_go_by_the_names_of_their_own_maps(tmp_path, maps, expected):
    run = folder(tmp_path, root=os.path.realpath(tmp_path)).create()
    for path, name in maps.items():
        for head in HEADS:
            run.write_map(head, Sample(Path(path), name), np.zeros((4, 4)), (4, 4))
    paths = [str(tmp_path / name) for name in ("a.jpg", "a.png")]
    run.append([row(p) if Path(p).name in maps else Row(p, error="cut short") for p in paths])
    found = {s.path.name: s.id for s in RunFolder.open(run.out).samples()}
    assert found == expected

"""--roi and --roi-ignore from the command line to rows, regions and detectors."""

import json

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

import vlad as library
from vlad.cli import main
from vlad.errors import HeadError
from vlad.results.maps import read_map

ROI = {"size": [120, 90], "box": [0, 0, 60, 90]}


def cli(*args):
    return CliRunner().invoke(main, [*map(str, args)])


@pytest.fixture
def parts(drawn, tmp_path):
    """Four images of one size and one of another, and the left half as a region in roi.json."""
    folder = tmp_path / "parts"
    folder.mkdir()
    for i, image in enumerate(drawn[2:]):
        image.resize((120, 90)).save(folder / f"{i}.png")
    drawn[0].resize((90, 120)).save(folder / "tall.png")
    (tmp_path / "roi.json").write_text(json.dumps(ROI))
    return folder


@pytest.fixture
def good(drawn, tmp_path):
    folder = tmp_path / "good"
    folder.mkdir()
    for i, image in enumerate(drawn[:4]):
        image.resize((120, 90)).save(folder / f"{i}.png")
    return folder


def test_rows_maps_and_regions_know_only_the_inside(vlad, rows, parts, good, tmp_path):
    run = (parts, "--normal", good / "0.png", "--roi", tmp_path / "roi.json")
    judged = ("--threshold", "0.001", "--map-threshold", "0.01", "--maps", "npy")
    out = tmp_path / "run"
    done = vlad(*run, *judged, "--out", out)
    assert done.exit_code == 0, done.output
    found = rows(out)
    assert {row["path"].rpartition("/")[2] for row in found if row["error"]} == {"tall.png"}
    for row in (row for row in found if not row["error"]):
        values = read_map(
            out / "maps" / "memory" / row["path"].rpartition("/")[2].replace("png", "npy")
        )
        assert float(row["memory"]) >= values.max() > 0
        assert not values[:, 62:].any()  # the map's own pixels blend over the edge
    boxes = json.loads((out / "regions" / "memory.json").read_text())["annotations"]
    assert boxes and all(x + width <= 62 for x, _, width, _ in (one["bbox"] for one in boxes))
    again = vlad(*run, *judged, "--out", out, "--resume")
    assert again.exit_code == 0, again.output
    (tmp_path / "roi.json").write_text(json.dumps({**ROI, "box": [0, 0, 50, 90]}))
    refused = vlad(*run, *judged, "--out", out, "--resume")
    assert (refused.exit_code, "other settings (roi:" in refused.output) == (2, True)


def test_a_calibration_holds_for_its_own_region_only(vlad, parts, good, tmp_path):
    fitted = ("--normal", good / "0.png")
    roi = ("--roi-ignore", tmp_path / "roi.json")
    assert vlad(parts, *fitted, *roi, "--out", tmp_path / "run").exit_code == 0
    made = cli(
        *("calibrate", tmp_path / "run", "--false-alarms", "0.3", "--out", tmp_path / "line.json")
    )
    assert made.exit_code == 0, made.output
    line = ("--calibration", tmp_path / "line.json")
    assert vlad(parts, *fitted, *roi, *line, "--out", tmp_path / "same").exit_code == 0
    refused = vlad(parts, *fitted, *line, "--out", tmp_path / "other")
    assert (refused.exit_code, "made with other roi" in refused.output) == (2, True)


def test_a_detector_keeps_its_region(vlad, rows, small_file, parts, good, tmp_path):
    Image.fromarray(np.arange(120)[None].repeat(90, 0) < 60).save(tmp_path / "roi.png")
    done = cli(
        *("fit", good, "--k-shot", "1", "--false-alarms", "0.3", "--backbone", small_file),
        *("--device", "cpu", "--roi", tmp_path / "roi.png", "--out", tmp_path / "detector"),
    )
    assert done.exit_code == 0, done.output
    (tmp_path / "roi.png").unlink()
    run = ("score", parts, "--device", "cpu", "--detector", tmp_path / "detector", "--out")
    done = cli(*run, tmp_path / "run")
    assert done.exit_code == 0, done.output
    plain = vlad(
        *(parts, "--normal", good, "--k-shot", "1", "--roi", tmp_path / "roi.json"),
        *("--out", tmp_path / "plain"),
    )
    assert plain.exit_code == 0, plain.output
    scores = [[row["memory"] for row in rows(tmp_path / name)] for name in ("run", "plain")]
    assert scores[0] == scores[1]
    digests = [
        json.loads((tmp_path / name / "run.json").read_text())["roi"] for name in ("run", "plain")
    ]
    assert digests[0] == digests[1]  # the same region, from an image and from JSON
    refused = cli(*run, tmp_path / "more", "--roi", tmp_path / "roi.json")
    assert (refused.exit_code, "--roi was chosen when" in refused.output) == (2, True)
    refused = cli(
        *("export", "--to", "onnx", "--detector", tmp_path / "detector"),
        *("--out", tmp_path / "graph"),
    )
    assert (refused.exit_code, "which a graph has not" in refused.output) == (2, True)
    said = cli("detector", "show", tmp_path / "detector").output
    assert "region of interest  50% of images like 120×90" in said
    made = library.Detector.load(tmp_path / "detector").set_params(roi=str(tmp_path / "roi.json"))
    with pytest.raises(HeadError, match="`roi` changed after `calibrate`"):
        made.predict(parts / "0.png")


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ('{"size": [120, 90], "polygon": [[0, 0], [50, 50], [50, 0], [0, 50]]}', "crosses"),
        ('{"size": [120, 90], "box": [0, 0, 121, 90]}', "larger than its image"),
        ("{", "cannot use"),
    ],
)
def test_a_region_that_cannot_be_used_stops_the_command(vlad, parts, tmp_path, content, says):
    (tmp_path / "bad.json").write_text(content)
    done = vlad(parts, "--roi", tmp_path / "bad.json", "--out", tmp_path / "run")
    assert (done.exit_code, says in done.output) == (2, True), done.output
    assert not (tmp_path / "run").exists()

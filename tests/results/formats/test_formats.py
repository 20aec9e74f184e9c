"""What a run found, read back from the files of each format."""

import json
from urllib.parse import unquote
from xml.etree import ElementTree

import numpy as np
import pytest
from finished_run import finished_run
from PIL import Image
from scipy import ndimage

from vlad.errors import InputError, OutputError
from vlad.images.polygons import fill
from vlad.results.finished import read_finished
from vlad.results.formats import FORMATS, write_findings
from vlad.results.formats.findings import findings_of

WIDTH, HEIGHT = 40, 24


def anomaly_map(*boxes):
    """High in boxes of (x, y, width, height)."""
    found = np.zeros((HEIGHT, WIDTH), np.float32)
    for level, (x, y, width, height) in enumerate(boxes, start=1):
        found[y : y + height, x : x + width] = 1 - level / 10
    return found


BLOB = ndimage.gaussian_filter(np.random.default_rng(0).normal(size=(HEIGHT, WIDTH)), 2)
MAPS = {
    "scratch/a.png": anomaly_map((3, 4, 10, 6), (30, 20, 10, 4)),
    "scratch/b.png": (BLOB > 0.15).astype(np.float32),
    "good/c.png": anomaly_map(),
    "good/d.png": anomaly_map((0, 0, 2, 2)),  # judged normal all the same
    "broken.png": None,
}
SCORES = {
    "scratch/a.png": 0.9,
    "scratch/b.png": "unsure",
    "good/c.png": 0.2,
    "good/d.png": 0.3,
    "broken.png": None,
}


@pytest.fixture
def images(tmp_path):
    """Name -> path."""
    found = {name: tmp_path / "images" / name for name in MAPS}
    for number, path in enumerate(found.values()):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.new("RGB", (WIDTH, HEIGHT), (40 * number, 90, 20)).save(path)
    return found


@pytest.fixture
def run(tmp_path, images):
    def make(name="run", **settings):
        scores = {images[n]: score for n, score in SCORES.items()}
        maps = {images[n]: found for n, found in MAPS.items()}
        return finished_run(tmp_path / name, tmp_path / "images", scores, maps, **settings)

    return make


def findings(out, head=None):
    return findings_of(read_finished(out), head)


def regions_of(maps):
    """Pixels of a map above the threshold, holes filled."""
    return ndimage.binary_fill_holes(maps > 0.5)


def same_regions(polygons, wanted):
    """Whether polygons cover a mask within a pixel of its edge."""
    drawn = np.zeros_like(wanted)
    for corners in polygons:
        drawn |= fill(np.array(corners, float), wanted.shape[::-1])
    square = np.ones((3, 3))
    inner, outer = ndimage.binary_erosion(wanted, square), ndimage.binary_dilation(wanted, square)
    return drawn.any() == wanted.any() and (inner <= drawn).all() and (drawn <= outer).all()


def read_coco(out):
    """Name -> boxes, polygons, labels and scores of its regions; and the content."""
    content = json.loads((out / "annotations.json").read_text("utf-8"))
    labels = {category["id"]: category["name"] for category in content["categories"]}
    names = {image["id"]: image["file_name"] for image in content["images"]}
    found = {name: [] for name in names.values()}
    for note in content["annotations"]:
        polygons = [np.reshape(corners, (-1, 2)) for corners in note["segmentation"]]
        found[names[note["image_id"]]].append(
            (note["bbox"], polygons, labels[note["category_id"]], note["score"])
        )
    return found, content


def test_findings_are_those_of_the_run(run):
    found = findings(run())
    assert [image.name for image in found.images] == [*MAPS][:4]
    assert [image.verdict for image in found.images] == ["anomalous", "unsure", "normal", "normal"]
    assert dict(found.left_out) == {"failed": 1}
    assert (found.judge, found.head, found.threshold) == ("memory", "memory", 0.5)
    assert found.images[0].size == (WIDTH, HEIGHT)
    # a region of an image judged normal is no finding, and is counted
    assert found.images[3].regions == []
    assert found.normal_regions == 1


def test_fused_verdicts_count_first_and_regions_are_the_first_heads(run, images):
    fused = {images[n]: s for n, s in zip(MAPS, [0.1, 0.8, 0.7, 0.3], strict=False)}
    out = run(heads=("memory", "winclip"), fused=fused)
    found = findings(out)
    assert (found.judge, found.head) == ("fused", "memory")
    assert found.images[0].verdict == "normal"
    assert found.images[0].scores == {"memory": 0.9, "winclip": 0.9, "fused": 0.1}
    chosen = findings(out, "winclip")
    assert (chosen.judge, chosen.head) == ("winclip", "winclip")
    assert chosen.images[0].verdict == "anomalous"
    with pytest.raises(InputError, match=r"no verdicts of musc; choose from memory, winclip, fu"):
        findings(out, "musc")


def test_coco_holds_boxes_polygons_scores_and_negatives(run, tmp_path):
    found = findings(run())
    write_findings(found, "coco", tmp_path / "out")
    read, content = read_coco(tmp_path / "out")
    boxes = {tuple(box): score for box, _, _, score in read["scratch/a.png"]}
    assert boxes == {(3, 4, 10, 6): pytest.approx(0.9), (30, 20, 10, 4): pytest.approx(0.8)}
    for name in [*MAPS][:3]:
        polygons = [corners for _, outlines, _, _ in read[name] for corners in outlines]
        assert same_regions(polygons, regions_of(MAPS[name])), name
    assert read["good/c.png"] == read["good/d.png"] == []
    first = content["images"][0]
    assert (first["width"], first["height"], first["verdict"]) == (WIDTH, HEIGHT, "anomalous")
    assert first["score"] == 0.9 and first["scores"] == {"memory": 0.9}
    assert content["info"]["threshold"] == 0.5


def test_yolo_boxes_are_shares_of_the_image(run, tmp_path):
    write_findings(findings(run()), "yolo", tmp_path / "out")
    labels = tmp_path / "out" / "labels"
    rows = [line.split() for line in (labels / "scratch" / "a.txt").read_text().splitlines()]
    assert [row[0] for row in rows] == ["0", "0"]
    x, y, width, height = (float(value) for value in rows[0][1:])
    assert (x, width) == (pytest.approx(8 / WIDTH, abs=1e-6), pytest.approx(10 / WIDTH, abs=1e-6))
    assert (y, height) == (pytest.approx(7 / HEIGHT, abs=1e-6), pytest.approx(0.25))
    assert (labels / "good" / "c.txt").read_text() == ""
    assert not (labels / "broken.txt").exists()
    names = (tmp_path / "out" / "data.yaml").read_text()
    assert names == 'train: images\nval: images\nnames:\n  0: "anomaly"\n'


def test_yolo_outlines_cover_the_regions(run, tmp_path):
    write_findings(findings(run()), "yolo-outlines", tmp_path / "out")
    for name in [*MAPS][:3]:
        file = (tmp_path / "out" / "labels" / name).with_suffix(".txt")
        shapes = [np.array(line.split()[1:], float) for line in file.read_text().splitlines()]
        corners = [shape.reshape(-1, 2) * (WIDTH, HEIGHT) for shape in shapes]
        assert same_regions(corners, regions_of(MAPS[name])), name


def test_label_studio_tasks_fit_their_interface(run, tmp_path):
    out = tmp_path / "out"
    write_findings(findings(run()), "labelstudio", out)
    view = ElementTree.parse(out / "config.xml").getroot()
    controls = {tag.get("name"): tag for tag in view}
    tasks = json.loads((out / "tasks.json").read_text("utf-8"))
    assert len(tasks) == 4
    for task, name in zip(tasks, MAPS, strict=False):
        assert task["data"]["image"] == f"/data/local-files/?d=images/{name}"
        (prediction,) = task["predictions"]
        for result in prediction["result"]:
            control = controls[result["from_name"]]
            assert result["type"] == control.tag.lower()
            assert result["to_name"] == control.get("toName") == "image"
            allowed = {choice.get("value") for choice in control}
            assert set(result["value"][result["type"]]) <= allowed
        shapes = [r["value"]["points"] for r in prediction["result"] if "points" in r["value"]]
        corners = [np.array(shape) * (WIDTH / 100, HEIGHT / 100) for shape in shapes]
        wanted = regions_of(MAPS[name]) & (name != "good/d.png")
        assert same_regions(corners, wanted), name
    verdicts = [
        [r["value"]["choices"] for r in task["predictions"][0]["result"] if r["id"] == "verdict"]
        for task in tasks
    ]
    # what the run abstains from is left to the person
    assert verdicts == [[["anomalous"]], [], [["normal"]], [["normal"]]]


def test_label_studio_addresses_begin_as_asked(run, images, tmp_path):
    images["good/c.png"].rename(images["good/c.png"].with_name("ü #1&?.png"))
    images["good/c.png"] = images["good/c.png"].with_name("ü #1&?.png")
    write_findings(
        findings(run()), "labelstudio", tmp_path / "out", url_prefix="https://mes.example/i/"
    )
    tasks = json.loads((tmp_path / "out" / "tasks.json").read_text("utf-8"))
    address = tasks[2]["data"]["image"]
    assert address == "https://mes.example/i/good/%C3%BC%20%231%26%3F.png"
    assert unquote(address).endswith(tasks[2]["data"]["name"])


def test_fiftyone_samples_name_their_files(run, images, tmp_path):
    write_findings(findings(run()), "fiftyone", tmp_path / "out")
    assert "version" not in json.loads((tmp_path / "out" / "metadata.json").read_text())
    samples = json.loads((tmp_path / "out" / "samples.json").read_text("utf-8"))["samples"]
    assert [sample["filepath"] for sample in samples] == [str(images[n]) for n in [*MAPS][:4]]
    first = samples[0]
    assert first["verdict"] == {"_cls": "Classification", "label": "anomalous"}
    assert first["metadata"] == {"_cls": "ImageMetadata", "width": WIDTH, "height": HEIGHT}
    boxes = [box["bounding_box"] for box in first["boxes"]["detections"]]
    assert boxes[0] == pytest.approx([3 / WIDTH, 4 / HEIGHT, 10 / WIDTH, 6 / HEIGHT])
    for sample, name in zip(samples[:3], MAPS, strict=False):
        shapes = [shape for line in sample["regions"]["polylines"] for shape in line["points"]]
        corners = [np.array(shape) * (WIDTH, HEIGHT) for shape in shapes]
        assert same_regions(corners, regions_of(MAPS[name])), name


def test_known_kinds_are_classes(run, images, tmp_path):
    kinds = {images[n]: "" for n in MAPS} | {images["scratch/a.png"]: 'odd "kind"'}
    out = run(kinds=kinds)
    found = findings(out)
    assert found.kinds == ["anomaly", 'odd "kind"']
    write_findings(found, "coco", tmp_path / "coco")
    read, _ = read_coco(tmp_path / "coco")
    assert {label for *_, label, _ in read["scratch/a.png"]} == {'odd "kind"'}
    assert {label for *_, label, _ in read["scratch/b.png"]} == {"anomaly"}
    write_findings(found, "yolo", tmp_path / "yolo")
    assert (tmp_path / "yolo" / "labels" / "scratch" / "a.txt").read_text().startswith("1 ")
    assert '  1: "odd \\"kind\\""\n' in (tmp_path / "yolo" / "data.yaml").read_text()
    write_findings(found, "labelstudio", tmp_path / "tasks")
    view = ElementTree.parse(tmp_path / "tasks" / "config.xml").getroot()
    assert [label.get("value") for label in view.find("PolygonLabels")] == found.kinds


@pytest.mark.parametrize("how", ["copy", "link"])
@pytest.mark.parametrize("form", FORMATS)
def test_images_are_placed_beside_their_labels(run, images, tmp_path, form, how):
    out = tmp_path / "out"
    written = write_findings(findings(run()), form, out, images=how)
    assert written.folder == out
    for image in written.images:
        placed = out / image.name
        assert placed.read_bytes() == image.sample.path.read_bytes()
        assert placed.is_symlink() == (how == "link")
        assert "/images/" in str(placed)
    if form.startswith("yolo"):
        labels = {path.relative_to(out / "labels").with_suffix("") for path in out.rglob("*.txt")}
        assert labels == {
            path.relative_to(out / "images").with_suffix("") for path in out.rglob("*.png")
        }


def test_names_that_collide_or_are_odd_are_told_apart(tmp_path):
    root = tmp_path / "images"
    root.mkdir()
    paths = [root / "a.png", root / "a.jpg", root / "e\udcff: x?.png", root / "A.png"]
    maps = {}
    for number, path in enumerate(paths):
        Image.new("RGB", (WIDTH, HEIGHT), (number, 0, 0)).save(path)
        maps[path] = anomaly_map((number, 0, 3, 3))
    out = finished_run(tmp_path / "run", root, dict.fromkeys(paths, 0.9), maps)
    written = write_findings(findings(out), "yolo", tmp_path / "out", images="copy")
    names = [image.name for image in written.images]
    assert len({name.casefold() for name in names}) == 4
    assert all(name.isascii() and not set(name) & set('?:"') for name in names)
    for number, image in enumerate(written.images):
        label = tmp_path / "out" / "labels" / image.name.partition("/")[2]
        x = float(label.with_suffix(".txt").read_text().split()[1])
        assert x == pytest.approx((number + 1.5) / WIDTH, abs=1e-6)
    write_findings(findings(out), "coco", tmp_path / "coco")
    read, _ = read_coco(tmp_path / "coco")
    assert "e\\xff: x?.png" in read


def test_images_that_moved_are_left_out_where_they_are_copied(run, images, tmp_path):
    out = run()
    images["scratch/a.png"].unlink()
    found = findings(out)
    assert len(write_findings(found, "coco", tmp_path / "plain").images) == 4
    written = write_findings(found, "coco", tmp_path / "copied", images="copy")
    assert dict(written.left_out) == {"failed": 1, "no longer there": 1}
    read, _ = read_coco(tmp_path / "copied")
    assert [*read] == [f"images/{name}" for name in [*MAPS][1:4]]
    for path in images.values():
        path.unlink(missing_ok=True)
    with pytest.raises(InputError, match="none of the images is where the run found it"):
        write_findings(found, "coco", tmp_path / "none", images="link")
    assert not (tmp_path / "none").exists()


def test_images_that_changed_are_left_out(run, images):
    out = run()
    Image.new("RGB", (90, 90)).save(images["scratch/a.png"])
    found = findings(out)
    assert dict(found.left_out) == {"failed": 1, "changed since scored": 1}


def test_what_cannot_be_written_is_refused(run, tmp_path):
    out = run()
    found = findings(out)
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "mine").write_text("mine")
    with pytest.raises(OutputError, match="is not an empty folder; choose another"):
        write_findings(found, "coco", tmp_path / "full")
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (out / "regions" / "memory.json").write_text('{"images": [], "annotations": [{}]}')
    with pytest.raises(InputError, match=r"cannot read the regions in .*memory.json"):
        findings(out)
    (out / "regions" / "memory.json").unlink()
    with pytest.raises(InputError, match="has no regions of memory; score its images with"):
        findings(out)


def test_relative_paths_are_those_of_the_folder_of_the_run(tmp_path, images, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = images["good/c.png"].relative_to(tmp_path)
    out = finished_run(
        tmp_path / "run", tmp_path / "images", {path: 0.9}, {path: MAPS["scratch/a.png"]}
    )
    assert [image.name for image in findings(out).images] == ["good/c.png"]
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    with pytest.raises(InputError, match=r"good/c.png is relative to the folder that .* was made"):
        findings(out)

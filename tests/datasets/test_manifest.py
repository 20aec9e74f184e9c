"""CSV manifests: what they may look like, and the line that a mistake is on."""

import codecs
import re

import pytest

from vlad.datasets.manifest import read_manifest
from vlad.errors import InputError
from vlad.types import Sample


def write(folder, text, encoding="utf-8"):
    path = folder / "list.csv"
    path.write_bytes(text.encode(encoding))
    return path


def test_all_columns(tmp_path):
    path = write(
        tmp_path,
        "path,category,label,mask,split\n"
        "good/0.png,bottle,0,,test\n"
        "bad/1.png,metal nut,1,masks/1.png,test\n"
        f"{tmp_path}/elsewhere/2.png,,,,train\n",
    )
    samples = read_manifest(path)
    assert samples == [
        Sample(tmp_path / "good/0.png", "good/0", "bottle", 0),
        Sample(tmp_path / "bad/1.png", "bad/1", "metal nut", 1, mask=tmp_path / "masks/1.png"),
        Sample(tmp_path / "elsewhere/2.png", "elsewhere/2"),
    ]
    assert read_manifest(path, split="train") == samples[2:]


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", codecs.BOM_UTF8.decode()])
@pytest.mark.parametrize("newline", ["\n", "\r\n"])
def test_separators_marks_and_newlines(tmp_path, separator, mark, newline):
    lines = [["Label", " PATH ", "score"], ["1", '"größe, breit; hoch.png"', "0.5"], ["", "", ""]]
    text = mark + newline.join(separator.join(line) for line in lines)
    (sample,) = read_manifest(write(tmp_path, text))
    assert sample.path == tmp_path / "größe, breit; hoch.png" and sample.label == 1


def test_path_alone(tmp_path):
    assert [s.id for s in read_manifest(write(tmp_path, "path\n\nb.png\na.png"))] == ["b", "a"]


def test_label_words(tmp_path):
    path = write(tmp_path, "path,label\na.png,normal\nb.png,Anomalous\nc.png,0\nd.png\n")
    assert [sample.label for sample in read_manifest(path)] == [0, 1, 0, None]


@pytest.mark.parametrize("first", ["sep=;\r\n", "SEP=;\n", ""])
def test_what_excel_writes(tmp_path, first):
    labels = ["True", "FALSE", "1.0", "0,0", "OK", "NG", "nok", "Good", "bad"]
    lines = [f"{i}.png;{label};" for i, label in enumerate(labels)]
    text = "\n".join(["path;label;severity", *lines, "x.png;1,0;2.0", "y.png;0.0;0"])
    samples = read_manifest(write(tmp_path, first + text))
    assert [s.label for s in samples] == [1, 0, 1, 0, 0, 1, 1, 0, 1, 1, 0]
    assert [s.severity for s in samples[-2:]] == [2, 0]
    with pytest.raises(InputError, match=f"line {14 if first else 13} of .*'10.5' is unknown"):
        read_manifest(write(tmp_path, f"{first}{text}\nz.png;10.5;"))


def test_severities(tmp_path):
    lines = ["a.png,0,0", "b.png,anomalous,3", "c.png,,12", "d.png,,0", "e.png,1,", "f.png,,"]
    samples = read_manifest(write(tmp_path, "\n".join(["path,label,severity", *lines])))
    expected = [(0, 0), (1, 3), (1, 12), (0, 0), (1, None), (None, None)]
    assert [(sample.label, sample.severity) for sample in samples] == expected


def test_images_outside_its_folder(tmp_path):
    path = write(tmp_path, "path\n../other/a.png\nb.png\n")
    parent = tmp_path.name
    assert [s.id for s in read_manifest(path)] == ["other/a", f"{parent}/b"]


def test_repeated_lines_count_once(tmp_path):
    path = write(tmp_path, "path,label\na.png,1\nx/../a.png,1\na.png,1\n")
    (tmp_path / "x").mkdir()
    assert len(read_manifest(path)) == 1


@pytest.mark.parametrize(
    "text, says",
    [
        ("", "has no column path"),
        ("file,label\na.png,1\n", "has no column path"),
        ("a.png\nb.png\n", "has no column path"),
        ("path,label\n", "lists no images"),
        ("path,label\n\n,\n", "lists no images"),
        ("path,label\na.png,1\nb.png,2\n", "line 3 of"),
        ("path,label\na.png,1\n\nb.png,maybe\n", "line 4 of"),
        ("path,label\n,1\n", "line 2 of"),
        ("path,label\na.png,1,x\n", "3 cells for 2 columns"),
        ("path,label\na.png,1\na.png,0\n", "line 3 of"),
        ("path,label,severity\na.png,0,0\nb.png,0,2\n", "line 3 of"),
        ("path,label,severity\na.png,1,0\n", "label 1 and the severity 0 contradict each other"),
        ("path,severity\na.png,-1\n", "severity '-1' is not a whole number"),
        ("path,severity\na.png,1.5\n", "severity '1.5' is not a whole number"),
        ("path,severity\na.png,²\n", "severity '²' is not a whole number"),
        ("path,severity\na.png,99999999999\n", "not a whole number"),
        ("path,severity\na.png,1\na.png,2\n", "already on line 2"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, text, says):
    path = write(tmp_path, text)
    with pytest.raises(InputError, match=re.escape(says)) as caught:
        read_manifest(path)
    assert str(path) in str(caught.value)


def test_unknown_split(tmp_path):
    path = write(tmp_path, "path,split\na.png,test\n")
    with pytest.raises(InputError, match="of split 'train'"):
        read_manifest(path, split="train")


def test_other_encodings_are_refused(tmp_path):
    with pytest.raises(InputError, match="not UTF-8"):
        read_manifest(write(tmp_path, "path\ngröße.png\n", "latin-1"))


def test_missing_manifest_and_folder(tmp_path):
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises(InputError, match="cannot read the manifest"):
            read_manifest(path)

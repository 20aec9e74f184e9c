"""labels.csv: what it says, and what a spreadsheet makes of it."""

import codecs
from datetime import datetime, timezone

import pytest

from vlad.errors import InputError
from vlad.review.labels import Label, label_line, read_labels, write_labels

HEADER = "path,label,kind,digest,by,time\n"
NOON = datetime(2026, 11, 29, 12, tzinfo=timezone.utc)
DIGEST = "0123456789abcdef"


def write(folder, text, encoding="utf-8"):
    path = folder / "labels.csv"
    path.write_bytes(text.encode(encoding))
    return path


def read(folder, rows, header=HEADER):
    return read_labels(write(folder, header + rows))


def test_what_is_written_is_read_back(tmp_path):
    labels = [
        Label("größe, breit.png", "defective", "scratch; deep", DIGEST, "Zoë", NOON),
        Label("-minus.png", "good", by='"Q"'),
        Label("b.png", "good", time=NOON.replace(microsecond=250_000)),
    ]
    path = write_labels(labels, tmp_path / "labels.csv")
    assert path.read_text("utf-8").startswith(HEADER)
    assert path.read_text("utf-8").endswith("b.png,good,,,,2026-11-29T12:00:00.250000Z\n")
    assert read_labels(path) == labels


def test_no_cell_is_a_formula():
    line = label_line(Label("=1.png", "defective", "=HYPERLINK(1)", by="@anna"))
    assert line == "./=1.png,defective,'=HYPERLINK(1),,'@anna,\n"


@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("mark", ["", codecs.BOM_UTF8.decode(), "sep=SEPARATOR\n"])
@pytest.mark.parametrize("newline", ["\n", "\r\n", "\r"])
def test_what_a_spreadsheet_leaves(tmp_path, separator, mark, newline):
    lines = [
        ["TIME", "Label", '"By"', " path ", "Digest"],
        ["2026-11-29 12:00:00", '"GOOD"', "Zoë", '"a, b; c.png"', DIGEST.upper()],
        ["", "", "", "", ""],
    ]
    text = mark.replace("SEPARATOR", separator)
    text += newline.join(separator.join(line) for line in lines)
    assert read_labels(write(tmp_path, text)) == [
        Label("a, b; c.png", "good", "", DIGEST, "Zoë", NOON)
    ]


def test_of_each_person_the_last_label_counts(tmp_path):
    found = read(
        tmp_path,
        "a.png,good,,,anna,2026-11-29T12:00:00Z\n"
        "a.png,defective,,,ben,\n"
        "a.png,defective,dent,,anna,2026-11-29T12:01:00Z\n"
        "a.png,good,,,anna,2026-11-29T13:00:00+02:00\n",  # earlier, wherever a sort has put it
    )
    assert [(x.by, x.label, x.kind) for x in found] == [
        ("ben", "defective", ""),
        ("anna", "defective", "dent"),
    ]


def test_without_times_the_lower_line_counts(tmp_path):
    assert [x.label for x in read(tmp_path, "a.png,good\na.png,defective,dent\n")] == ["defective"]


def test_one_content_under_two_names_is_one_image(tmp_path):
    found = read(tmp_path, f"a.png,good,,{DIGEST},,\nb.png,defective,,{DIGEST},,\n")
    assert [(x.path, x.label) for x in found] == [("b.png", "defective")]


def test_a_row_without_a_label_takes_it_back(tmp_path):
    with pytest.warns(UserWarning, match=r"1 image of .* without a label left out"):
        found = read(tmp_path, "a.png,good\nb.png,good\na.png,\n")
    assert [x.path for x in found] == ["b.png"]


def test_images_that_nobody_labelled_are_counted(tmp_path):
    with pytest.warns(UserWarning, match=r"2 images of .*labels\.csv without a label left out"):
        assert [x.path for x in read(tmp_path, "a.png,\nb.png,good\nc.png,\nd.png,\nc.png,good\n")]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ("a.png,good\nb.png,fine\n", "line 3 of .*: the label 'fine' is unknown; write good"),
        ("a.png,1\n", "line 2 of .*: the label '1' is unknown"),
        (",good\n", "line 2 of .*: the path is empty"),
        ("a.png,good,scratch\n", "line 2 of .*: a good image has the kind of defect 'scratch'"),
        ("a.png,good,,1.23457E+15\n", "line 2 of .*: the digest '1.23457E.15' is not 16 hexa"),
        ("a.png,good,,123456789012\n", "line 2 of .*: the digest '123456789012' is not 16"),
        ("a.png,good,,,,29/11/2026 12:00\n", "line 2 of .*: the time '29/11/2026 12:00' is not"),
        ("a,b.png,good,,,,,\n", "line 2 of .*: the label 'b.png' is unknown"),
        ("a.png,good,,,,,extra\n", "line 2 of .* has 7 cells for 6 columns"),
        ("", "has no labels; write good or defective"),
    ],
)
def test_mistakes_are_told_with_their_line(tmp_path, rows, says):
    with pytest.raises(InputError, match=says):
        read(tmp_path, rows)


@pytest.mark.parametrize(
    ("header", "says"),
    [
        ("file,label\n", "has no column path; begin with a line such as path,label,kind,digest"),
        ("path,kind\n", "has no column label; begin with path,label,kind,digest,by,time"),
        ("path,label,digets\n", "names an unknown column 'digets'; remove it"),
    ],
)
def test_other_columns_are_refused(tmp_path, header, says):
    with pytest.raises(InputError, match=says):
        read(tmp_path, "a.png,good\n", header)


def test_other_encodings_are_told_with_their_line(tmp_path):
    text = HEADER + "a.png,good\ngröße.png,good\n"
    for encoding, line in (("cp1252", 3), ("utf-16", 1)):
        path = write(tmp_path, text, encoding)
        says = f"the labels {path} is not UTF-8 text (line {line}); save it as CSV"
        with pytest.raises(InputError) as error:
            read_labels(path)
        assert str(error.value).startswith(says)


def test_a_missing_file(tmp_path):
    with pytest.raises(InputError, match=r"cannot read the labels .*: No such file"):
        read_labels(tmp_path / "labels.csv")

"""Labels of several people as one label an image."""

from datetime import datetime, timezone

import pytest

from vlad.errors import InputError
from vlad.review.labels import Label
from vlad.review.merging import about_each, joined, settled

EARLY = datetime(2026, 11, 28, tzinfo=timezone.utc)
LATE = datetime(2026, 11, 29, tzinfo=timezone.utc)
A, B = "a" * 16, "b" * 16


def test_people_who_agree_make_one_label_with_the_kind_that_one_gave():
    found = settled(
        [
            Label("a.png", "defective", "dent", A, "anna", EARLY),
            Label("b.png", "good", by="anna"),
            Label("elsewhere/a.png", "defective", "", A, "ben", LATE),
        ]
    )
    assert found == [
        Label("elsewhere/a.png", "defective", "dent", A, "ben", LATE),
        Label("b.png", "good", by="anna"),
    ]


def test_contradictions_are_named_and_refused_or_decided_by_time():
    labels = [
        Label("a.png", "good", by="anna", time=LATE),
        Label("a.png", "defective", "dent", by="ben", time=EARLY),
        Label("b.png", "defective", "dent", by="anna", time=EARLY),
        Label("b.png", "defective", "scratch", by="ben", time=LATE),
        Label("c.png", "good"),
    ]
    says = r"2 images .*: a\.png \(good by anna, defective dent by ben\), b\.png .*; correct them"
    with pytest.raises(InputError, match=says):
        settled(labels)
    found = settled(labels, prefer_latest=True)
    assert [(x.path, x.label, x.kind) for x in found] == [
        ("a.png", "good", ""),
        ("b.png", "defective", "scratch"),
        ("c.png", "good", ""),
    ]


def test_no_latest_without_times():
    labels = [Label("a.png", "good", by="anna", time=LATE), Label("a.png", "defective", by="ben")]
    with pytest.raises(InputError, match=r"no latest label of a\.png .*; correct the labels, or"):
        settled(labels, prefer_latest=True)


def test_one_person_in_two_files_may_change_their_mind_and_nobody_is_not_one_person():
    first = [Label("a.png", "good", by="anna"), Label("b.png", "good")]
    second = [Label("a.png", "defective", by="anna"), Label("b.png", "defective")]
    found = joined({"1.csv": first, "2.csv": second})
    assert [(x.path, x.label, x.by) for x in found] == [
        ("b.png", "good", "1.csv"),
        ("a.png", "defective", "anna"),
        ("b.png", "defective", "2.csv"),
    ]


def test_a_label_can_tell_that_two_others_are_about_one_image():
    labels = [
        Label("a.png", "good"),
        Label("b.png", "good", digest=B),
        Label("a.png", "good", "", B),
    ]
    assert about_each(labels) == [labels]
    labels[2] = Label("a.png", "good", digest=A)
    assert about_each(labels) == [[labels[0], labels[2]], [labels[1]]]

"""Labels over HTTP: kept with their images, refused where they would be lost."""

import csv
import hashlib
import json
import os
import signal
import subprocess
import sys
import urllib.request
from concurrent.futures import ThreadPoolExecutor

import pytest

from vlad.errors import InputError, OutputError
from vlad.review.labels import read_labels
from vlad.scoring.record import digest_of
from vlad.serving import review
from vlad.serving.review import Labels

LABELS = "/v1/labels"


@pytest.fixture
def folder(tmp_path):
    return tmp_path / "review"


@pytest.fixture
def client(serve, memory, folder):
    return serve({"line": memory}, labels=Labels(folder))


def image(content, name="0.png"):
    return {"image": (name, content)}


def rows(folder):
    with open(folder / "labels.csv", encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_an_image_is_kept_with_its_label(client, folder, files):
    data = {"label": "defective", "kind": "scratch", "by": "Ann"}
    reply = client.post(LABELS, files=image(files[0], "../../part 7.PNG"), data=data)
    assert reply.status_code == 201
    digest = hashlib.sha256(files[0]).hexdigest()[:16]
    path = folder / "images" / f"{digest}.png"
    assert path.read_bytes() == files[0] and digest_of(path) == digest
    (row,) = rows(folder)
    assert row == reply.json() == {"path": f"images/{digest}.png", "digest": digest, **data,
                                   "time": row["time"]}  # fmt: skip
    assert row["time"].endswith("Z")
    (label,) = read_labels(folder / "labels.csv")
    assert label.defective and label.by == "Ann" and label.time is not None


def test_a_later_label_replaces_and_a_taken_back_one_is_gone(client, folder, files):
    for label in ("good", "defective"):
        digest = client.post(LABELS, files=image(files[0]), data={"label": label}).json()["digest"]
    client.post(LABELS, files=image(files[0]), data={"label": "good", "by": "Bo"})
    client.post(LABELS, files=image(files[1]), data={"label": "good"})
    assert len(list((folder / "images").iterdir())) == 2
    found = read_labels(folder / "labels.csv")
    said = {x.by: x.label for x in found if x.digest == digest}
    assert said == {"": "defective", "Bo": "good"}
    assert client.delete(f"{LABELS}/{digest}").status_code == 204
    found = read_labels(folder / "labels.csv")
    assert [x.by for x in found if x.digest == digest] == ["Bo"]
    by = {"data": {"by": "Bo"}}
    assert client.request("DELETE", f"{LABELS}/{digest}", **by).status_code == 204
    assert [x.digest == digest for x in read_labels(folder / "labels.csv")] == [False]


def test_the_page_learns_where_labels_are_kept(serve, memory, client):
    assert client.get("/v1/detectors").json()["labels"] is True
    assert serve({"line": memory}).get("/v1/detectors").json()["labels"] is False


def test_without_a_folder_labels_are_refused(serve, memory, files):
    plain = serve({"line": memory})
    digest = "0" * 16
    for reply in (
        plain.post(LABELS, files=image(files[0]), data={"label": "good"}),
        plain.delete(f"{LABELS}/{digest}"),
    ):
        assert reply.status_code == 409
        assert "start it with --review DIR" in reply.json()["detail"]


@pytest.mark.parametrize(
    ("data", "name", "says"),
    [
        ({"label": "bad"}, "0.png", "label: Input should be 'good' or 'defective'."),
        ({}, "0.png", "label: Field required."),
        ({"label": "good", "kind": "scratch"}, "0.png", "A good image has no kind"),
        ({"label": "good", "by": "a\nb"}, "0.png", "by: String should match"),
        ({"label": "good", "by": "a" * 101}, "0.png", "by: String should have at most 100"),
        ({"label": "good"}, "0.exe", "no suffix of an image"),
        ({"label": "good"}, "png", "no suffix of an image"),
        ({"label": "good", "who": "me"}, "0.png", "The form has no field who"),
    ],
)
def test_what_is_no_label_is_refused(client, folder, files, data, name, says):
    reply = client.post(LABELS, files=image(files[0], name), data=data)
    assert reply.status_code == 422
    assert says in reply.json()["detail"]
    assert not folder.exists()


def test_what_is_no_image_is_refused(client, folder):
    reply = client.post(LABELS, files=image(b"MZ", "0.png"), data={"label": "good"})
    assert reply.status_code == 422 and "cannot read 0.png" in reply.json()["detail"]
    assert not folder.exists()
    assert client.delete(f"{LABELS}/{'0' * 16}").status_code == 404
    assert client.delete(f"{LABELS}/..").status_code in (404, 405, 422)


def test_a_name_that_a_spreadsheet_would_run_is_text(client, folder, files):
    data = {"label": "defective", "kind": "=1+1", "by": "@Ann"}
    assert client.post(LABELS, files=image(files[0]), data=data).status_code == 201
    assert (rows(folder)[0]["kind"], rows(folder)[0]["by"]) == ("'=1+1", "'@Ann")


def test_labels_need_the_key(serve, memory, files, folder, tmp_path):
    from vlad.serving.keys import new_key, read_keys

    key = new_key(tmp_path / "keys.txt")
    client = serve({"line": memory}, read_keys(tmp_path / "keys.txt"), labels=Labels(folder))
    sent = {"files": image(files[0]), "data": {"label": "good"}}
    assert client.post(LABELS, **sent).status_code == 401 and not folder.exists()
    reply = client.post(LABELS, **sent, headers={"Authorization": f"Bearer {key}"})
    assert reply.status_code == 201


def test_a_full_folder_takes_no_other_image(client, folder, files, monkeypatch):
    monkeypatch.setattr(review, "MAX_LABELLED", 1)
    good = {"data": {"label": "good"}}
    assert client.post(LABELS, files=image(files[0]), **good).status_code == 201
    reply = client.post(LABELS, files=image(files[1]), **good)
    assert reply.status_code == 507 and "choose another folder" in reply.json()["detail"]
    assert client.post(LABELS, files=image(files[0]), **good).status_code == 201
    monkeypatch.setattr(review, "MAX_LABELLED", 10)
    monkeypatch.setattr(review, "MAX_LABELLED_BYTES", len(files[0]))
    assert client.post(LABELS, files=image(files[1]), **good).status_code == 507
    monkeypatch.setattr(review, "MAX_TABLE", 10)
    assert client.post(LABELS, files=image(files[0]), **good).status_code == 507
    assert len(rows(folder)) == 2 and len(list((folder / "images").iterdir())) == 1


def test_many_at_once_are_all_kept(client, folder, files):
    def label(number):
        sent = {"label": "defective", "kind": str(number)}
        return client.post(LABELS, files=image(files[number % 3]), data=sent).status_code

    with ThreadPoolExecutor(8) as pool:
        assert set(pool.map(label, range(24))) == {201}
    assert sorted(int(row["kind"]) for row in rows(folder)) == list(range(24))


_WRITE = """
import sys
from pathlib import Path
from vlad.serving.review import Labels
folder, first = Path(sys.argv[1]), int(sys.argv[2])
for number in range(first, first + 20):
    Labels(folder).add(b"image", ".png", "defective", str(number), "")
"""


def test_two_services_share_a_folder(folder):
    command = [sys.executable, "-c", _WRITE, str(folder)]
    writers = [subprocess.Popen([*command, str(first)]) for first in (0, 20)]
    assert [writer.wait() for writer in writers] == [0, 0]
    assert sorted(int(row["kind"]) for row in rows(folder)) == list(range(40))


def test_a_row_that_was_cut_off_gives_way(folder):
    labels = Labels(folder)
    labels.add(b"one", ".png", "good", "", "Ann")
    with open(folder / "labels.csv", "ab") as file:
        file.write(b"images/0123.png,defe")
    labels.check()
    labels.add(b"two", ".png", "good", "", "Ann")
    assert [x.label for x in read_labels(folder / "labels.csv")] == ["good", "good"]


def test_a_folder_that_cannot_hold_labels_is_refused(folder, tmp_path):
    folder.mkdir()
    (folder / "labels.csv").write_text("image;verdict\n", "utf-8")
    with pytest.raises(InputError, match="does not begin with path,label,kind"):
        Labels(folder).check()
    (tmp_path / "file").write_text("", "utf-8")
    with pytest.raises(OutputError, match="is a file"):
        Labels(tmp_path / "file").check()


SERVICE = """
import sys
from vlad.cli import main
main(["serve", "--head", "winclip", "--category", "nut", "--backbone", "vlad-tiny",
      "--device", "cpu", "--port", "0", "--review", sys.argv[1]])
"""


@pytest.mark.skipif(sys.platform == "win32", reason="kill -9 is a Unix thing")
def test_what_was_acknowledged_survives_kill_9(folder, files, run_env):
    command = [sys.executable, "-u", "-c", SERVICE, str(folder)]
    with subprocess.Popen(command, env=run_env, stdout=subprocess.PIPE, text=True) as service:
        address = service.stdout.readline().split(" at ")[1].strip()
        kept = []
        for number, content in enumerate(files[:3]):
            body = b"".join(
                b"--x\r\nContent-Disposition: form-data; " + says + b"\r\n\r\n" + value + b"\r\n"
                for says, value in (
                    (b'name="image"; filename="0.png"', content),
                    (b'name="label"', b"defective"),
                    (b'name="kind"', str(number).encode()),
                )
            )
            headers = {"Content-Type": "multipart/form-data; boundary=x"}
            sent = urllib.request.Request(address + LABELS, body + b"--x--\r\n", headers)
            with urllib.request.urlopen(sent) as reply:
                kept.append(json.load(reply))
        os.kill(service.pid, signal.SIGKILL)
    assert rows(folder) == kept
    assert all(digest_of(folder / row["path"]) == row["digest"] for row in kept)

"""What a request would lose in silence is refused with one sentence, over real HTTP."""

import re

import httpx
import pytest

client = httpx.Client(timeout=600)
SCORE, DETECTORS = "/v1/score", "/v1/detectors"
OF_SCORE = "images, detector, category, threshold, map_threshold, map"
OF_DETECTORS = "name, images, head, category, k_shot, false_alarms, suspects"
HEADERS = {"Content-Type": "multipart/form-data; boundary=x"}


def refused(reply, status=422) -> str:
    assert reply.status_code == status
    (sentence,) = reply.json().values()
    assert re.fullmatch(r"[^\n]*[.?]", sentence)
    return sentence


def part(says: str, content: bytes) -> bytes:
    head = f"--x\r\nContent-Disposition: form-data{says}\r\n\r\n"
    return head.encode() + content + b"\r\n"


def post(address, *parts):
    return client.post(address, content=b"".join(parts) + b"--x--\r\n", headers=HEADERS)


@pytest.mark.parametrize(
    ("path", "field", "near"),
    [
        (SCORE, "thresold", ". Did you mean threshold?"),
        (SCORE, "Map", ". Did you mean map?"),
        (SCORE, "image", ". Did you mean images?"),
        (SCORE, "k_shot", f"; choose from {OF_SCORE}."),
        (SCORE, "map_kind", f"; choose from {OF_SCORE}."),
        (DETECTORS, "false_alarm", ". Did you mean false_alarms?"),
        (DETECTORS, "kshot", ". Did you mean k_shot?"),
        (DETECTORS, "threshold", f"; choose from {OF_DETECTORS}."),
    ],
)  # fmt: skip
def test_unknown_fields(live, files, form, path, field, near):
    good = {} if path == SCORE else {"name": "new"}
    sentence = refused(client.post(live + path, files=form(files[0]), data={**good, field: "1"}))
    assert sentence == f"The form has no field {field}{near}"
    assert len(client.get(live + DETECTORS).json()["detectors"]) == 1


def test_a_file_under_an_unknown_name(live, files, form):
    sent = [*form(files[0]), ("img", ("1.png", files[1]))]
    assert "no field img" in refused(client.post(live + SCORE, files=sent))


def test_a_field_given_twice(live, files, form):
    data = {"threshold": ["0.1", "0.9"]}
    sentence = refused(client.post(live + SCORE, files=form(files[0]), data=data))
    assert sentence == "The form gives threshold twice; send it once."


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("POST", SCORE), ("POST", DETECTORS), ("GET", DETECTORS), ("DELETE", f"{DETECTORS}/line"),
        ("GET", "/"), ("GET", "/healthz"), ("GET", "/metrics"),
    ],
)  # fmt: skip
def test_query_parameters(live, files, form, method, path):
    sent = {"files": form(files[0])} if method == "POST" else {}
    ask = {"data": {"name": "new"}} if path == DETECTORS and method == "POST" else {}
    reply = client.request(method, f"{live}{path}?blur=3", **sent, **ask)
    assert refused(reply) == "The query parameter blur is unknown; leave it out."
    reply = client.request(method, live + path, **sent, **ask)
    assert reply.status_code == (409 if method == "DELETE" else 201 if ask else 200)


def test_a_field_in_the_query(live, files, form):
    sentence = refused(client.post(f"{live}{SCORE}?threshold=0.5", files=form(files[0])))
    assert sentence == "threshold is a query parameter; send threshold as a field of the form."


@pytest.mark.parametrize("path", [SCORE, DETECTORS])
def test_an_image_without_a_file_name_is_named_by_its_part(live, files, path):
    named, nameless = '; name="images"; filename="a.png"', '; name="images"'
    new = part('; name="name"', b"new") if path == DETECTORS else b""
    sentence = refused(post(live + path, part(named, files[0]), part(nameless, files[1]), new))
    assert sentence.startswith("Part 2 of the form, images, has no file name")
    # the parser holds text in memory, so it has a limit of its own
    large = part(nameless, b"\0" * 2_000_000)
    sentence = refused(post(live + path, part(named, files[0]), large, new), 400)
    assert "at its part 2 (Part exceeded maximum size" in sentence
    assert post(live + path, part(named, files[0]), part(named, files[1]), new).is_success


@pytest.mark.parametrize("says", ['; filename="a.png"', ""])
@pytest.mark.parametrize("path", [SCORE, DETECTORS])
def test_a_part_without_a_name(live, files, path, says):
    good = part('; name="images"; filename="a.png"', files[0])
    for before in (0, 2):
        sentence = refused(post(live + path, *[good] * before, part(says, files[1])), 400)
        assert f"at its part {before + 1} (" in sentence and "give each part a name" in sentence


@pytest.mark.parametrize("path", [SCORE, DETECTORS])
def test_a_form_that_was_cut_loses_no_image_in_silence(live, files, path):
    whole = b"".join(part(f'; name="images"; filename="{n}.png"', files[n]) for n in (0, 1))
    for cut in (whole, whole + b"--x\r\n", whole[: len(whole) // 2]):
        reply = client.post(live + path, content=cut, headers=HEADERS)
        assert "ends in the middle of a part" in refused(reply, 400)
    after = client.post(live + SCORE, content=whole + b"--x--\r\nbye", headers=HEADERS)
    assert len(after.json()["images"]) == 2


def test_an_image_with_an_empty_file_name_is_called_by_its_place(live, files):
    empty = '; name="images"; filename=""'
    reply = post(
        live + SCORE, part(empty, files[0]), part(empty, b"no image"), part(empty, files[2])
    )
    first, second, third = reply.json()["images"]
    assert [x["name"] for x in (first, second, third)] == ["image 1", "image 2", "image 3"]
    assert second["error"].startswith("cannot read image 2: ")


@pytest.mark.parametrize("path", ["/", "/healthz", "/metrics", DETECTORS, "/openapi.json"])
def test_head_is_get_without_a_body(live, path):
    one = {"X-Request-Id": "1"}
    asked, told = (ask(live + path, headers=one) for ask in (client.head, client.get))
    assert (asked.status_code, asked.content) == (200, b"")
    # as the page's policy and the length of the body, if it does not change between the two
    changing = {"date", *(["content-length"] if path == "/metrics" else [])}
    shown, expected = (
        {k: v for k, v in reply.headers.items() if k not in changing} for reply in (asked, told)
    )
    assert shown == expected


def test_head_where_get_is_refused(live):
    assert client.head(live + SCORE).status_code == client.get(live + SCORE).status_code == 405
    assert client.head(f"{live}/nowhere").status_code == 404
    assert client.head(f"{live}/healthz?x=1").status_code == 422
    counted = client.get(f"{live}/metrics").text
    assert 'vlad_requests_total{method="HEAD",route="/healthz",status="422"} 1.0' in counted

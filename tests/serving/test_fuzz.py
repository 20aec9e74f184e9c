"""Whatever is sent, the answer is one that openapi.json describes, and the service goes on.

`VLAD_FUZZ=10000 pytest tests/serving/test_fuzz.py` tries so many requests of each kind, new ones
every time.
"""

import io
import os
import random

import pytest
import requests
import schemathesis
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from PIL import Image
from schemathesis import GenerationMode

from vlad.serving.review import Labels

EXAMPLES = int(os.environ.get("VLAD_FUZZ", 0))
fuzz = settings(
    max_examples=EXAMPLES or 100,
    derandomize=not EXAMPLES,
    database=None,
    deadline=None,
    suppress_health_check=list(HealthCheck),
)
BOTH = (GenerationMode.POSITIVE, GenerationMode.NEGATIVE)
CASES = [
    # there is no wrong way to ask what has no parameters
    *((path, "GET", BOTH[0]) for path in ("/healthz", "/readyz", "/metrics", "/v1/detectors")),
    *(("/v1/detectors", "POST", mode) for mode in BOTH),
    *(("/v1/detectors/{name}", "DELETE", mode) for mode in BOTH),
    *(("/v1/detectors/{name}/reload", "POST", mode) for mode in BOTH),
    *(("/v1/labels", "POST", mode) for mode in BOTH),
    *(("/v1/labels/{digest}", "DELETE", mode) for mode in BOTH),
    *(("/v1/score", "POST", mode) for mode in BOTH),
    *(("/v1/explain", "POST", mode) for mode in BOTH),
]
LOCAL, SCORE = "http://127.0.0.1", "/v1/score"
FIELDS = {
    "detector": ["line", "words", "none", "../line", "line\0", "", "x" * 70],
    "name": ["new", "line", "..", "<b>", "\u202e", "a" * 64],
    "category": ["nut", "", "\0", "{}", "a" * 100, "\ud7ff" * 100, "%s%n"],
    "threshold": ["0", "-1e308", "1e-320", "nan", "1_0", "0x1", " 1", "１"],
    "map_threshold": ["0", "1e400", "-inf", "true", "[1]"],
    "map": ["png", "float32", "svg", "PNG"],
    "head": ["memory", "patchcore", "musc", "winclip", "april_gan"],
    "k_shot": ["1", "0", "2", "1.0", "9" * 5000, "-1"],
    "false_alarms": ["0.5", "1e-300", "5e-324", "0.9999999999999999", "1", "nan"],
    "other": ["x"],
}
NAMES = [
    "0.png",
    "../../etc/passwd",
    "a\0b",
    "\u202egnp.exe",
    "é" * 300,
    "=1+1",
    "\x7f",
    "C:\\a",
    "",
]
HEADERS = {
    "Accept": ["text/html", "*/*;q=nan", "," * 5000],
    "Accept-Encoding": ["gzip;q=x", "br"],
    "Authorization": ["Bearer", "Bearer " + "x" * 60_000, "Basic Og=="],
    "Content-Encoding": ["gzip", "deflate, gzip"],
    "Content-Length": ["0", "-1", "٣", "999999999999999999999", "1e3", "5"],
    "Content-Type": [
        "multipart/form-data", "multipart/form-data; boundary=", "multipart/form-data; boundary=\"",
        "multipart/form-data; boundary=" + "x" * 5000, "application/x-www-form-urlencoded",
        "application/json", "multipart/mixed; boundary=x", "text/plain; charset=utf-7",
        "multipart/form-data; boundary=x; charset=none",
    ],
    "Cookie": ["a=" + "b" * 60_000, ";;=;"],
    "Host": ["localhost", "[::1]:0", "127.0.0.1:99999999", "[", "a@127.0.0.1", "127.0.0.1#x"],
    "Origin": ["null", "http://127.0.0.1", "http://[", "http://127.0.0.1:x"],
    "Range": ["bytes=0-" + "1,2-" * 1000],
    "Transfer-Encoding": ["chunked", "identity, chunked"],
    "X-Forwarded-Host": ["evil.example"],
}  # fmt: skip
SPLICES = [
    b"\r\n", b"\r\n\r\n", b"--x", b"\r\n--x\r\n", b"\r\n--x--", b"\0", b"\xff" * 9, b";" * 5000,
    b'filename*=utf-8\'\'%00', b"Content-Transfer-Encoding: base64\r\n", b'"', b"A" * 9000,
    b"Content-Type: multipart/mixed; boundary=x\r\n\r\n",
]  # fmt: skip


def images() -> list[bytes]:
    """Files of which the first is good and the others hide something."""

    def saved(image, kind, **options) -> bytes:
        file = io.BytesIO()
        image.save(file, kind, **options)
        return file.getvalue()

    good = saved(Image.effect_noise((64, 48), 50).convert("RGB"), "PNG")
    large = saved(Image.new("1", (9000, 9000)), "PNG")
    thin = saved(Image.new("L", (50_000, 1)), "PNG")
    small = saved(Image.new("RGBA", (1, 1)), "WEBP")
    turned = saved(Image.new("CMYK", (40, 30)), "JPEG", exif=b"Exif\0\0II*\0" + b"\xff" * 40)
    deep = saved(Image.new("I;16", (40, 30), 60_000), "TIFF")
    text = [b"", b"<svg xmlns='http://www.w3.org/2000/svg'/>", b"P3 9 9 255 " + b"#\n" * 500]
    return [good, large, thin, small, turned, deep, good[:90], *text]


IMAGES = images()


def form_of(draw: random.Random, names: list[str]) -> bytes:
    """The body of a form with boundary x, whole or damaged, most often with fields of `names`."""
    body = b""
    for _ in range(draw.randint(0, 4)):
        name = draw.choice(names if draw.random() < 0.9 else list(FIELDS))
        value = draw.choice(FIELDS[name])
        body += f'--x\r\nContent-Disposition: form-data; name="{name}"\r\n\r\n{value}\r\n'.encode()
    for _ in range(draw.choice((0, 1, 1, 1, 2, 7))):
        says = f'form-data; name="images"; filename="{draw.choice(NAMES)}"'.encode()
        content = draw.choice(IMAGES[: draw.choice((1, len(IMAGES)))])
        body += b"--x\r\nContent-Disposition: " + says + b"\r\n\r\n" + content + b"\r\n"
    body = bytearray(body + b"--x--\r\n")
    for _ in range(draw.choice((0, 0, 1, 2, 5))):
        at = draw.randrange(len(body))
        if draw.random() < 0.2:
            del body[max(1, at) :]
        else:
            body[at : at + draw.choice((0, 0, 1, 30))] = draw.choice(SPLICES)
    return bytes(body)


@pytest.fixture
def service(serve, memory, words, files, form, tmp_path):
    """A client and the service's description; at the end an image must score as it did before."""
    # limits so small that they are met, but for the time: a machine may sleep
    limits = {"queue": 6, "max_bytes": 200_000, "max_pixels": 50_000, "timeout": 1e6}
    client = serve({"line": memory, "words": words}, labels=Labels(tmp_path), **limits)

    def scored() -> dict:
        reply = client.post(SCORE, files=form(files[5]), data={"map": "float32"})
        assert reply.status_code == 200
        return reply.json()

    before = scored()
    yield client, schemathesis.openapi.from_dict(client.get("/openapi.json").json())
    assert scored() == before


def send(client, request: requests.Request):
    """The reply to a request as these bytes on the wire."""
    found = request.prepare()
    body = found.body.encode() if isinstance(found.body, str) else found.body
    return client.request(found.method, found.url, content=body, headers=dict(found.headers))


def described(operation, reply) -> None:
    """The status, the type and the shape of a reply are the schema's, and no more is told."""
    assert reply.status_code < 500 or reply.status_code in (503, 504)
    codes = operation.definition.raw["responses"]
    assert str(reply.status_code) in codes, reply.text
    kinds = codes[str(reply.status_code)].get("content", {})
    kind = reply.headers.get("content-type", "").partition(";")[0]
    assert kind in kinds or not (kind or kinds)
    operation.validate_response(reply)
    assert "Traceback" not in reply.text
    if reply.status_code >= 400:
        (sentence,) = reply.json().values()
        assert sentence.endswith((".", "?")) and "\n" not in sentence and len(sentence) < 1000


@pytest.mark.parametrize(("path", "method", "mode"), CASES)
def test_requests_made_from_the_schema(service, path, method, mode):
    client, schema = service
    operation = schema[path][method]

    @fuzz
    @given(operation.as_strategy(mode))
    def ask(case):
        request = requests.Request(**case.as_transport_kwargs(base_url=LOCAL))
        described(operation, send(client, request))

    ask()


@pytest.mark.parametrize(
    ("path", "names"),
    [
        ("/v1/score", ["detector", "category", "threshold", "map_threshold", "map"]),
        ("/v1/detectors", ["name", "category", "head", "k_shot", "false_alarms"]),
    ],
)
def test_forms_made_by_hand(service, path, names):
    client, schema = service
    operation = schema[path]["POST"]

    @fuzz
    @given(seed=st.integers(0, 2**63))
    def ask(seed):
        draw = random.Random(seed)
        headers = {"Content-Type": "multipart/form-data; boundary=x"}
        for name in draw.sample(list(HEADERS), draw.choice((0, 0, 0, 1, 2))):
            headers[name] = draw.choice(HEADERS[name])
        sent = {name: value.encode() for name, value in headers.items()}
        reply = client.post(path, content=form_of(draw, names), headers=sent)
        described(operation, reply)
        if reply.status_code == 201:  # there is room for few
            assert client.delete(f"{path}/{reply.json()['name']}").status_code == 204

    ask()


def test_bodies_made_by_hand(service):
    client, schema = service
    operation = schema[SCORE]["POST"]
    names = ["detector", "category", "threshold", "map_threshold", "map"]

    @fuzz
    @given(seed=st.integers(0, 2**63))
    def ask(seed):
        draw = random.Random(seed)
        chosen = [draw.choice(names if draw.random() < 0.9 else list(FIELDS)) for _ in range(2)]
        query = [(name, draw.choice(FIELDS[name])) for name in chosen[: draw.choice((0, 1, 1, 2))]]
        kind = draw.choice(("image/png", "image/*", "image/", "IMAGE/x; boundary=x", "image"))
        body = bytearray(draw.choice(IMAGES))
        if body and draw.random() < 0.3:
            body[draw.randrange(len(body))] ^= 255
        headers = {"Content-Type": kind}
        for name in draw.sample(list(HEADERS), draw.choice((0, 0, 0, 1))):
            headers[name] = draw.choice(HEADERS[name])
        sent = {name: value.encode() for name, value in headers.items()}
        query = {name: value.encode("utf-8", "surrogatepass") for name, value in query}
        described(operation, client.post(SCORE, params=query, content=bytes(body), headers=sent))

    ask()

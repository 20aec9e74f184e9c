"""What is refused before anything is read, and what happens when there is too much of it."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import pytest

from vlad.serving.guard import Guard
from vlad.serving.keys import new_key, read_keys
from vlad.serving.limits import Limits
from vlad.serving.metrics import Metrics
from vlad.serving.traffic import Traffic


@pytest.fixture
def key(tmp_path):
    """A key and the hashes of a file that holds it among others."""
    file = tmp_path / "keys.txt"
    new_key(file)
    found = new_key(file)
    new_key(file)
    return found, read_keys(file)


def test_without_a_key_nothing_is_told_and_nothing_read(serve, slow, files, form, key):
    client = serve({"line": slow}, key[1], max_bytes=1000)
    for method, path in (
        ("POST", "/v1/score"), ("GET", "/v1/detectors"), ("POST", "/v1/detectors"),
        ("DELETE", "/v1/detectors/line"), ("GET", "/metrics"), ("GET", "/openapi.json"),
        ("GET", "/nowhere"),
    ):  # fmt: skip
        for given in (None, "Bearer", f"Bearer {key[0]}x", f"Basic {key[0]}", "Bearer \xff"):
            headers = {} if given is None else {"Authorization": given.encode("latin-1")}
            # a body that is too large is not even weighed
            reply = client.request(method, path, headers=headers, content=b"x" * 2000)
            assert reply.status_code == 401, path
            assert reply.headers["WWW-Authenticate"] == "Bearer"
            assert key[0] not in reply.text
    assert client.get("/healthz").json()["status"] == "ok"
    assert client.get("/readyz").json()["status"] == "ready"
    assert "<title>" in client.get("/").text


def test_with_a_key_it_answers_from_anywhere(serve, slow, files, form, key):
    slow.go.set()
    client = serve({"line": slow}, key[1])
    headers = {
        "Authorization": f"Bearer {key[0]}",
        "Host": "vlad.example",
        "Origin": "https://other.example",
    }
    reply = client.post("/v1/score", files=form(files[0]), headers=headers)
    assert reply.status_code == 200
    assert "access-control-allow-origin" not in reply.headers


def test_without_keys_only_this_machine_and_our_own_page_are_answered(serve, slow, files, form):
    slow.go.set()
    client = serve({"line": slow})
    own = {"Host": "localhost:8000", "Origin": "http://localhost:8000"}
    for headers in (own, {"Host": "127.0.0.1"}, {"Host": "[::1]:80"}, {"Host": "127.0.0.5"}):
        assert client.post("/v1/score", files=form(files[0]), headers=headers).is_success
    for headers in (
        {"Host": "evil.example"},
        {"Host": "127.0.0.1.evil.example:8000"},
        {"Host": "[::1"},
        {"Host": ""},
        {**own, "Origin": "http://evil.example"},
        {**own, "Origin": "http://localhost:9000"},
        {**own, "Origin": "null"},
        {**own, "Origin": "http://["},
    ):
        for path in ("/", "/healthz", "/v1/detectors"):
            assert client.get(path, headers=headers).status_code == 403, headers
        assert client.post("/v1/score", files=form(files[0]), headers=headers).status_code == 403


@pytest.mark.parametrize("stated", [True, False])
def test_large_requests_are_cut_off(serve, slow, files, form, stated):
    slow.go.set()
    client = serve({"line": slow}, max_bytes=len(files[0]) + 500)
    taken = 0

    def body():
        nonlocal taken
        yield (
            b'--x\r\nContent-Disposition: form-data; name="images"; filename="0.png"\r\n\r\n'
            + files[0]
        )
        for _ in range(1000):
            taken += 1
            yield b"\0" * 1000

    headers = {"Content-Type": "multipart/form-data; boundary=x"}
    if stated:
        headers["Content-Length"] = "1000000"
    reply = client.post("/v1/score", content=body(), headers=headers)
    assert reply.status_code == 413
    assert "bytes" in reply.json()["detail"]
    assert client.post("/v1/score", files=form(files[0])).is_success


def test_a_full_queue_says_when_to_come_again(serve, slow, files, form, eventually):
    client = serve({"line": slow}, batch_size=1, queue=4)
    with ThreadPoolExecutor() as pool:

        def later(*contents):
            return pool.submit(client.post, "/v1/score", files=form(*contents))

        def waiting(count):
            return lambda: f"vlad_queue_images {count}.0" in client.get("/metrics").text

        begun = [later(files[0])]
        eventually(slow.began.is_set)
        begun += [later(files[0])]
        eventually(waiting(1))
        begun += [later(*files[:2])]
        eventually(waiting(3))
        refused = client.post("/v1/score", files=form(*files[:2]))
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        begun += [later(files[0])]
        eventually(waiting(4))
        # as many requests as images may wait: the next one's body is not read
        assert client.post("/v1/score", content=b"no form").status_code == 429
        assert client.get("/healthz").is_success
        slow.go.set()
        assert [one.result().status_code for one in begun] == [200] * 4
    assert client.post("/v1/score", files=form(*files[:2])).is_success


def test_what_takes_too_long_is_given_up(serve, slow, files, form, eventually, monkeypatch):
    async def wait_for(answer, seconds):
        """The real one, whose seconds count while the backbone is at work."""
        answer = asyncio.ensure_future(answer)
        while not slow.began.is_set():
            await asyncio.sleep(0.005)
        return await asyncio.wait_for(answer, None if slow.go.is_set() else seconds)

    clock = SimpleNamespace(wait_for=wait_for, TimeoutError=asyncio.TimeoutError)
    monkeypatch.setattr("vlad.serving.guard.asyncio", clock)
    client = serve({"line": slow}, batch_size=1, timeout=0.2)
    reply = client.post("/v1/score", files=form(*files[:4]))
    assert reply.status_code == 504
    assert isinstance(reply.json()["detail"], str)
    # what was not begun is not scored for nobody
    slow.go.set()
    eventually(lambda: "vlad_queue_images 0.0" in client.get("/metrics").text)
    assert client.post("/v1/score", files=form(files[5])).is_success
    assert 1 <= len(slow.batches) <= 3


def test_a_request_that_does_not_arrive_is_given_up():
    async def send_nothing():
        await asyncio.sleep(60)

    async def read(scope, receive, send):
        await receive()

    async def ask():
        sent = []

        async def send(message):
            sent.append(message)

        guard = Guard(
            read, limits=Limits(timeout=0.05), metrics=Metrics(lambda: 0), traffic=Traffic()
        )
        headers = [(b"host", b"localhost"), (b"content-length", b"10")]
        scope = {"type": "http", "method": "POST", "path": "/v1/score", "headers": headers}
        await guard(scope, send_nothing, send)
        return sent

    assert asyncio.run(ask())[0]["status"] == 408


def test_every_reply_forbids_what_a_browser_might_do_with_it(serve, slow, files, form):
    client = serve({"line": slow})
    for path in ("/", "/healthz", "/v1/detectors", "/nowhere", "/metrics", "/openapi.json"):
        headers = client.get(path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["Referrer-Policy"] == "no-referrer"
        assert "frame-ancestors 'none'" in headers["Content-Security-Policy"]
        assert "default-src 'none'" in headers["Content-Security-Policy"]
        assert "access-control-allow-origin" not in headers


def test_metrics_count_requests_and_take_no_names_from_them(serve, slow, files, form):
    slow.go.set()
    client = serve({"line": slow})
    client.post("/v1/score", files=form(files[0], b"bad"))
    client.get("/a/b")
    client.request("BREW", "/v1/score")
    client.delete("/v1/detectors/some-name")
    text = client.get("/metrics").text
    for line in (
        'vlad_requests_total{method="POST",route="/v1/score",status="200"} 1.0',
        'vlad_requests_total{method="GET",route="other",status="404"} 1.0',
        'vlad_images_total{detector="line",outcome="scored"} 1.0',
        'vlad_images_total{detector="line",outcome="failed"} 1.0',
        "vlad_batch_images_count 1.0",
    ):
        assert line in text
    assert "some-name" not in text and "BREW" not in text


def test_a_busy_detector_leaves_room_for_others(serve, slow, memory, files, form, eventually):
    client = serve({"line": memory, "slow": slow}, batch_size=1, queue=4)

    def ask(name, *contents):
        return client.post("/v1/score", files=form(*contents), data={"detector": name})

    with ThreadPoolExecutor() as pool:
        begun = [pool.submit(ask, "slow", files[0])]
        eventually(slow.began.is_set)
        begun += [pool.submit(ask, "slow", *files[:2])]
        eventually(lambda: "vlad_queue_images 2.0" in client.get("/metrics").text)
        refused = ask("slow", files[0])
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert refused.json()["detail"].startswith("Detector slow is busy")
        begun += [pool.submit(ask, "line", *files[:2])]  # half of the queue is left
        eventually(lambda: "vlad_queue_images 4.0" in client.get("/metrics").text)
        assert ask("line", files[0]).json()["detail"].startswith("The service is busy")
        slow.go.set()
        assert [one.result().status_code for one in begun] == [200] * 3
    assert "send at most 2" in ask("line", *files[:3]).json()["detail"]


def test_the_share_of_a_detector():
    assert [Limits(queue=7).share(count) for count in (1, 2, 9)] == [7, 4, 4]
    assert [Limits(queue=7, queue_per_detector=n).share(1) for n in (2, 9)] == [2, 7]

"""One attempt to post an event: signature, time limit, and where it never goes."""

import hashlib
import hmac
import socket
import threading

import pytest
from receiver import Receiver

from vlad.errors import InputError
from vlad.runs.events.webhook import Host, Webhook

BODY = b'{"id": "abc", "path": "a.png"}'


def test_an_event_arrives_with_id_and_signature():
    with Receiver(204) as receiver:
        assert Webhook.of(receiver.url, b"key").send("abc", BODY) is None
        assert Webhook.of(receiver.url, None).send("abc", BODY) is None
    (signed, body), (plain, _) = receiver.posts
    assert body == BODY and receiver.paths[0] == "/parts?line=1"
    assert signed["Content-Type"] == "application/json" and signed["X-Vlad-Delivery"] == "abc"
    assert signed["Host"] == f"127.0.0.1:{receiver.server_port}"
    expected = hmac.new(b"key", BODY, hashlib.sha256).hexdigest()
    assert signed["X-Vlad-Signature"] == f"sha256={expected}"
    assert "X-Vlad-Signature" not in plain


@pytest.mark.parametrize(
    ("status", "words"), [(500, "answered 500"), (403, "answered 403"), (302, "not followed")]
)
def test_any_other_answer_is_a_failure_and_no_redirect_is_followed(status, words):
    with Receiver(status) as receiver:
        assert words in Webhook.of(receiver.url, None).send("abc", BODY)
    assert receiver.paths == ["/parts?line=1"]


def drip(handler) -> None:
    """An answer that never ends, though each piece comes soon."""
    with pytest.raises(OSError):
        while True:
            handler.wfile.write(b"H")
            threading.Event().wait(0.01)


@pytest.mark.parametrize("answer", [lambda handler: handler.rfile.read(), drip])
def test_an_attempt_ends_in_time(answer):
    with Receiver(answer) as receiver:
        webhook = Webhook.of(receiver.url, None)
        slow = Webhook(webhook.host, webhook.target, webhook.secure, timeout=0.3)
        assert slow.send("abc", BODY) == "no answer within 0.3 s"


def test_a_host_that_is_away_or_speaks_something_else_is_a_reason():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # and does not listen
        url = f"http://127.0.0.1:{taken.getsockname()[1]}/"
        assert "refused" in Webhook.of(url, None).send("abc", BODY)
    assert Webhook.of(f"http://{'a' * 70}.invalid/", None).send("abc", BODY)
    with Receiver() as receiver:  # no TLS
        secure = Webhook.of(receiver.url.replace("http:", "https:"), None)
        assert "SSL" in secure.send("abc", BODY)
    assert not receiver.posts


def test_a_host_outside_never_leads_inside(monkeypatch):
    answers = []
    monkeypatch.setattr(
        socket, "getaddrinfo", lambda *_, **__: [(0, 0, 0, "", (a, 443)) for a in answers.pop(0)]
    )
    answers += [["8.8.8.8"], ["8.8.8.8", "10.0.0.1"], ["::1"], ["8.8.4.4"]]
    host = Host("example.org", 443)
    assert host.addresses() == ["8.8.8.8"]
    for private in ("10.0.0.1", "::1"):
        with pytest.raises(OSError, match=f"now leads to {private}, a private address"):
            host.addresses()
    assert host.addresses() == ["8.8.4.4"]
    answers += [["10.0.0.1"], ["10.0.0.2"]]  # a host of the same network may move in it
    host = Host("line", 80)
    assert host.addresses() + host.addresses() == ["10.0.0.1", "10.0.0.2"]


@pytest.mark.parametrize(
    "url",
    [
        "example.org/parts", "ftp://example.org/", "http://", "http://example.org:x/",
        "http://example.org:0/", "http://example.org/a b", "http://exämple.org/",
        "http://example.org/\r\nX: y", "http://[::1/",
    ],
)  # fmt: skip
def test_what_is_no_url_is_refused(url):
    with pytest.raises(InputError, match="is not a URL for `webhook`"):
        Webhook.of(url, None)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(InputError, match="holds a user name or a password") as refused:
        Webhook.of("https://me:hunter2@example.org/", None)
    assert "hunter2" not in str(refused.value)


def test_sentences_show_neither_path_nor_secret():
    webhook = Webhook.of("https://example.org/hidden", b"hunter2")
    assert webhook.title == "Webhook example.org:443" and "hunter2" not in repr(webhook)

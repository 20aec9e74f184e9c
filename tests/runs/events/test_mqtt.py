"""Events on a topic of a broker: a small one of the tests, and mosquitto where it is installed."""

import builtins
import json
import os
import shutil
import socket
import ssl
import subprocess
import threading
import time
from itertools import repeat

import pytest
from broker import Broker

from vlad.errors import InputError
from vlad.runs.events.courier import Courier
from vlad.runs.events.mqtt import Mqtt
from vlad.runs.events.outbox import Outbox

BODY = b'{"id": "abc", "path": "a.png"}'
MOSQUITTO = shutil.which("mosquitto", path=os.environ.get("PATH", "") + os.pathsep + "/usr/sbin")


def quick(port, login=None, timeout=0.5, scheme="mqtt"):
    mqtt = Mqtt.of(f"{scheme}://127.0.0.1:{port}/line/1", login)
    return Mqtt(mqtt.host, mqtt.port, mqtt.topic, mqtt.secure, login, timeout)


def test_an_event_is_published_and_confirmed():
    with Broker() as broker:
        assert Mqtt.of(f"mqtt://127.0.0.1:{broker.port}/line/1", None).send("abc", BODY) is None
        long = b"x" * 20_000
        assert quick(broker.port, ("me", "hunter2"), 10).send("abc", long) is None
    assert broker.got == [("line/1", BODY), ("line/1", long)]
    assert b"me" not in broker.logins[0]
    assert b"\x00\x02me\x00\x07hunter2" in broker.logins[1]


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        ("refuse", "refused (Not authorized)"),
        ("close", "onnection"),
        ("silent", "no answer within"),
    ],
)
def test_what_is_not_confirmed_is_a_failure(answer, words):
    with Broker(answer) as broker:
        assert words in quick(broker.port).send("abc", BODY)
        assert broker.got == []
        assert quick(broker.port, timeout=10).send("abc", BODY) is None


def test_a_broker_that_is_away_or_hangs_is_a_reason():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        assert "refused" in quick(taken.getsockname()[1]).send("abc", BODY)
        taken.listen()  # and does not answer
        assert "no answer" in quick(taken.getsockname()[1]).send("abc", BODY)
        assert quick(taken.getsockname()[1], scheme="mqtts", timeout=1).send("abc", BODY)


def test_nothing_is_lost_while_the_broker_is_away(tmp_path):
    with Broker() as broker:
        port = broker.port
    events = [{"id": str(n), "path": f"{n}.png"} for n in range(20)]
    said = []
    told = threading.Event()

    def say(words):
        said.append(words)
        told.set()

    courier = Courier(quick(port, timeout=10), Outbox(tmp_path, "mqtt"), say, lambda: repeat(0.01))
    courier.start()
    courier.add(events)
    assert told.wait(60)
    with Broker("close", "refuse", port=port) as broker:
        while courier.outbox.waiting:
            time.sleep(0.01)
        courier.close()
    assert [json.loads(body) for _, body in broker.got] == events
    assert f"MQTT 127.0.0.1:{port}: " in said[0] and "kept and sent again" in said[0]
    assert not any("not delivered" in sentence for sentence in said)
    assert (tmp_path / "mqtt.done").read_text().split() == [event["id"] for event in events]


@pytest.mark.parametrize(
    "url",
    [
        "broker/line", "http://broker/line", "mqtt://", "mqtt://broker", "mqtt://broker/",
        "mqtt://broker:x/line", "mqtt://broker:0/line", "mqtt://broker/line/+", "mqtt://broker/a#b",
        "mqtt://broker/a%23", "mqtt://broker/a?b", "mqtt://broker/a%00",
    ],
)  # fmt: skip
def test_what_is_no_broker_and_topic_is_refused(url):
    with pytest.raises(InputError, match="is not a broker and a topic for `mqtt`"):
        Mqtt.of(url, None)


def test_ports_and_topics():
    plain, secure = Mqtt.of("mqtt://broker/a/b%20c", None), Mqtt.of("mqtts://broker/x", None)
    assert (plain.port, plain.topic, plain.secure) == (1883, "a/b c", False)
    assert (secure.port, secure.topic, secure.secure) == (8883, "x", True)


def test_a_password_in_the_url_is_refused_and_not_repeated():
    with pytest.raises(InputError, match="holds a user name or a password") as refused:
        Mqtt.of("mqtt://me:hunter2@broker/line", None)
    assert "hunter2" not in str(refused.value)
    assert "hunter2" not in repr(Mqtt.of("mqtt://broker/line", ("me", "hunter2")))


def test_without_paho_the_extra_is_named(monkeypatch):
    real = builtins.__import__

    def without(name, *args, **kwargs):
        if name.startswith("paho"):
            raise ImportError("No module named 'paho'")
        return real(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", without)
    with pytest.raises(InputError, match=r"pip install 'vlad-vision\[mqtt\]'"):
        Mqtt.of("mqtt://broker/line", None)


@pytest.fixture
def mosquitto(tmp_path):
    """Starts mosquitto with a user `me`, encrypted if there is a certificate -> its port."""
    started = []

    def start(port=0, certificate=None):
        if not port:
            with socket.socket() as free:
                free.bind(("127.0.0.1", 0))
                port = free.getsockname()[1]
        passwords = tmp_path / "passwords"
        passwords.write_text("me:hunter2\n")
        subprocess.run(["mosquitto_passwd", "-U", passwords], check=True)
        passwords.chmod(0o644)
        lines = [f"listener {port} 127.0.0.1", f"password_file {passwords}", "user root"]
        if certificate:
            lines += [f"certfile {certificate[0]}", f"keyfile {certificate[1]}"]
        (tmp_path / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        process = subprocess.Popen([MOSQUITTO, "-c", tmp_path / "mosquitto.conf"])
        started.append(process)
        while process.poll() is None:
            try:
                socket.create_connection(("127.0.0.1", port), 1).close()
                break
            except OSError:
                continue
        assert process.poll() is None
        return port

    yield start
    for process in started:
        process.terminate()
        process.wait()


needs_mosquitto = pytest.mark.skipif(
    not MOSQUITTO or not shutil.which("mosquitto_passwd"), reason="mosquitto is not installed"
)


@needs_mosquitto
def test_mosquitto_gets_every_event_though_it_comes_late(mosquitto, tmp_path):
    import paho.mqtt.client as paho

    with Broker() as broker:
        port = broker.port
    events = [{"id": str(n), "path": f"{n}.png"} for n in range(50)]
    told = threading.Event()
    channel = quick(port, ("me", "hunter2"), 10)
    say = lambda words: told.set()  # noqa: E731
    courier = Courier(channel, Outbox(tmp_path, "mqtt"), say, lambda: repeat(0.5)).start()
    courier.add(events[:25])
    assert told.wait(60)  # that it is away

    mosquitto(port)
    got, ready, whole = [], threading.Event(), threading.Event()
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.username_pw_set("me", "hunter2")
    client.on_subscribe = lambda *_: ready.set()

    def take(_client, _data, message):
        got.append((message.topic, json.loads(message.payload)["id"]))
        if got[-1][1] == events[-1]["id"]:
            whole.set()

    client.on_message = take
    client.connect("127.0.0.1", port)
    client.subscribe("line/#", qos=1)
    client.loop_start()
    assert ready.wait(60)
    courier.add(events[25:])
    courier.grace = 60
    courier.close()
    assert whole.wait(60)
    client.disconnect()
    client.loop_stop()
    assert (tmp_path / "mqtt.done").read_text().split() == [event["id"] for event in events]
    # those from before the subscription went to nobody
    assert [name for _, name in got][-25:] == [event["id"] for event in events[25:]]
    assert {topic for topic, _ in got} == {"line/1"}


@needs_mosquitto
def test_mosquitto_refuses_a_wrong_password(mosquitto):
    port = mosquitto()
    assert "refused (Not authorized)" in quick(port, ("me", "wrong"), 10).send("abc", BODY)
    assert "refused" in quick(port, None, 10).send("abc", BODY)
    assert quick(port, ("me", "hunter2"), 10).send("abc", BODY) is None


@needs_mosquitto
@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl makes the certificate")
def test_an_encrypted_connection_checks_the_certificate(mosquitto, tmp_path, monkeypatch):
    certificate = tmp_path / "certificate.pem", tmp_path / "key.pem"
    names = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
    files = ["-out", certificate[0], "-keyout", certificate[1]]
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subprocess.run([*make, *names, *files], check=True, capture_output=True)
    port = mosquitto(certificate=certificate)
    channel = quick(port, ("me", "hunter2"), 10, scheme="mqtts")
    assert "certificate verify failed" in channel.send("abc", BODY)
    monkeypatch.setenv(ssl.get_default_verify_paths().openssl_cafile_env, str(certificate[0]))
    assert channel.send("abc", BODY) is None

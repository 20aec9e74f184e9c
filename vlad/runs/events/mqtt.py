"""A topic of an MQTT broker that gets each event."""

from __future__ import annotations

import os
import time
from contextlib import suppress
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import unquote, urlsplit

from vlad.errors import InputError
from vlad.runs.events.secret import read_secret

LOGIN = "VLAD_MQTT_LOGIN"
_PORTS = {"mqtt": 1883, "mqtts": 8883}
_STEP = 0.1  # seconds of one look at the connection


@dataclass(frozen=True)
class Mqtt:
    """Publishes events with quality of service 1, each over a connection of its own.

    Args:
        secure: whether it is encrypted, with the broker's certificate checked.
        login: user name and password, or None.
        timeout: seconds for one attempt.
    """

    host: str
    port: int
    topic: str
    secure: bool
    login: tuple[str, str | None] | None = field(default=None, repr=False)
    timeout: float = 10.0
    name: ClassVar[str] = "mqtt"
    retries: ClassVar[bool] = True

    @classmethod
    def of(cls, url: str, login: tuple[str, str | None] | None) -> Mqtt:
        """That of a URL, mqtt://HOST[:PORT]/TOPIC, or mqtts:// for an encrypted connection.

        Raises:
            InputError: another URL, one that holds a user name or a password, a topic with
                wildcards, or no paho-mqtt.
        """
        try:
            import paho.mqtt.client  # noqa: F401
        except ImportError as error:
            raise InputError(
                f"`mqtt` needs paho-mqtt ({error}); install it with `pip install "
                "'vlad-vision[mqtt]'`."
            ) from error
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # such as a port that is not a number
            host = port = None
        if host and (parts.username is not None or parts.password is not None):
            raise InputError(
                "The URL of `mqtt` holds a user name or a password; leave them out, and give "
                "`mqtt_login`."
            )
        topic = unquote(parts.path[1:]) if host else ""
        # `+` and `#` are for subscribers
        fit = topic.isprintable() and not set(topic) & {"+", "#"} and len(topic.encode()) < 2**16
        extra = host and (parts.query or parts.fragment)
        if not host or parts.scheme not in _PORTS or port == 0 or not (topic and fit) or extra:
            raise InputError(
                f"{url} is not a broker and a topic for `mqtt`; give one such as "
                "mqtt://broker:1883/line/1."
            )
        return cls(host, port or _PORTS[parts.scheme], topic, parts.scheme == "mqtts", login)

    @property
    def title(self) -> str:
        return f"MQTT {self.host}:{self.port}"

    def send(self, event: str, body: bytes) -> str | None:
        """Publish it once; return why the broker did not confirm it, or None."""
        import paho.mqtt.client as paho

        client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv311)
        client.connect_timeout = self.timeout
        answers: list[str | None] = []  # the first one counts; None is a confirmation

        def connected(_client, _data, _flags, code, _properties) -> None:
            if code.is_failure:
                answers.append(f"refused ({code})")
            else:
                client.publish(self.topic, body, qos=1)

        client.on_connect = connected
        client.on_publish = lambda *_: answers.append(None)
        end = time.monotonic() + self.timeout
        try:
            if self.login:
                client.username_pw_set(*self.login)
            if self.secure:
                client.tls_set()
            # paho gives an encrypted connection `keepalive` seconds to begin
            client.connect(self.host, self.port, keepalive=max(1, round(self.timeout)))
            while not answers and time.monotonic() < end:
                if code := client.loop(_STEP):
                    answers.append(paho.error_string(code).rstrip("."))
        except (OSError, ValueError) as error:
            answers.append(getattr(error, "strerror", None) or str(error) or type(error).__name__)
        with suppress(OSError, ValueError):
            client.disconnect()
        return answers[0] if answers else f"no answer within {self.timeout:g} s"


def read_login(file: str | os.PathLike[str] | None) -> tuple[str, str | None] | None:
    """(user name, password) from USER:PASSWORD in a file, else in the environment variable
    VLAD_MQTT_LOGIN, else None; a line without a colon is a user name alone.

    Raises:
        InputError: the file cannot be read, or there is nothing in it.
    """
    secret = read_secret(file, LOGIN, "broker")
    if secret is None:
        return None
    user, colon, password = secret.decode("utf-8", "surrogateescape").partition(":")
    return user, password if colon else None

"""A URL that gets each event by HTTP POST."""

from __future__ import annotations

import hashlib
import hmac
import http.client
import ipaddress
import socket
import ssl
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, field
from typing import ClassVar
from urllib.parse import urlsplit

import vlad
from vlad.errors import InputError

SECRET = "VLAD_WEBHOOK_SECRET"  # name of the environment variable
_PORTS = {"http": 80, "https": 443}


@dataclass
class Host:
    """The host of a URL, and the addresses that may be used for it.

    Args:
        name: a name or an address.

    Attributes:
        outside: whether it was first found outside private networks; None before that.
    """

    name: str
    port: int
    outside: bool | None = None

    def addresses(self) -> list[str]:
        """Its addresses now.

        Raises:
            OSError: none, or a private one of a host that was outside private networks before.
        """
        found = socket.getaddrinfo(self.name, self.port, type=socket.SOCK_STREAM)
        addresses = list(dict.fromkeys(str(each[4][0]) for each in found))
        private = [a for a in addresses if not ipaddress.ip_address(a).is_global]
        if self.outside is None:
            self.outside = not private
        if self.outside and private:
            raise OSError(f"{self.name} now leads to {private[0]}, a private address")
        return addresses


@dataclass(frozen=True)
class Webhook:
    """Posts events; it follows no redirect and uses no proxy.

    Headers: `X-Vlad-Delivery`, the id of the event, and with a secret `X-Vlad-Signature`,
    "sha256=" and the HMAC-SHA256 of the body in hexadecimal.

    Args:
        target: path and query of the URL.
        secure: whether it is https.
        secret: key of the signature, or None.
        timeout: seconds for one attempt, without looking up the host.
    """

    host: Host
    target: str
    secure: bool
    secret: bytes | None = field(default=None, repr=False)
    timeout: float = 10.0
    name: ClassVar[str] = "webhook"
    retries: ClassVar[bool] = True

    @classmethod
    def of(cls, url: str, secret: bytes | None) -> Webhook:
        """That of a URL.

        Raises:
            InputError: it is not one of http or https, or holds a user name or a password.
        """
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:  # such as a port that is not a number
            host = port = None
        plain = url.isascii() and url.isprintable() and " " not in url
        if not plain or not host or parts.scheme not in _PORTS or port == 0:
            raise InputError(
                f"{url} is not a URL for `webhook`; give one such as https://example.org/parts."
            )
        if parts.username is not None or parts.password is not None:
            raise InputError(
                "The URL of `webhook` holds a user name or a password; leave them out, and give "
                "`webhook_secret`."
            )
        target = (parts.path or "/") + (f"?{parts.query}" if parts.query else "")
        return cls(
            Host(host, port or _PORTS[parts.scheme]), target, parts.scheme == "https", secret
        )

    @property
    def title(self) -> str:
        # the path of a URL may be a secret
        return f"Webhook {self.host.name}:{self.host.port}"

    def send(self, event: str, body: bytes) -> str | None:
        """Post it once; return why that failed, or None."""
        headers = {
            "Content-Type": "application/json",
            "User-Agent": f"vlad/{vlad.__version__}",
            "Connection": "close",
            "X-Vlad-Delivery": event,
        }
        if self.secret is not None:
            headers["X-Vlad-Signature"] = sign(self.secret, body)
        late = threading.Event()
        try:
            with closing(self._connect()) as connection, self._limit(connection.sock, late):
                if isinstance(connection.sock, ssl.SSLSocket):
                    connection.sock.do_handshake()
                connection.request("POST", self.target, body, headers)
                status = connection.getresponse().status
        # a host that no name can be gives a UnicodeError
        except (OSError, ValueError, http.client.HTTPException) as error:
            if late.is_set() or isinstance(error, TimeoutError):
                return f"no answer within {self.timeout:g} s"
            return getattr(error, "strerror", None) or str(error) or type(error).__name__
        if 200 <= status < 300:
            return None
        return f"answered {status}" + (
            ", a redirect, which is not followed" if 300 <= status < 400 else ""
        )

    def _connect(self) -> http.client.HTTPConnection:
        *others, last = self.host.addresses()
        for address in others:
            try:
                return self._over(address)
            except OSError:
                continue
        return self._over(last)

    def _over(self, address: str) -> http.client.HTTPConnection:
        sock = socket.create_connection((address, self.host.port), self.timeout)
        if not self.secure:
            connection = http.client.HTTPConnection(self.host.name, self.host.port)
            connection.sock = sock
            return connection
        context = ssl.create_default_context()
        secure = http.client.HTTPSConnection(self.host.name, self.host.port, context=context)
        # the handshake comes later, within the time limit
        secure.sock = context.wrap_socket(
            sock, server_hostname=self.host.name, do_handshake_on_connect=False
        )
        return secure

    @contextmanager
    def _limit(self, sock: socket.socket, late: threading.Event) -> Iterator[None]:
        """End an attempt whose answer comes drop by drop: a socket's own limit is for each."""

        def end() -> None:
            late.set()
            with suppress(OSError):  # it ended just now
                socket.socket.shutdown(sock, socket.SHUT_RDWR)

        timer = threading.Timer(self.timeout, end)
        timer.daemon = True
        timer.start()
        try:
            yield
        finally:
            timer.cancel()


def sign(secret: bytes, body: bytes) -> str:
    """The signature of a body, as in the header."""
    return f"sha256={hmac.new(secret, body, hashlib.sha256).hexdigest()}"

"""The address the service listens on, and who can reach it."""

from __future__ import annotations

import ipaddress
import os
import socket

from vlad.errors import InputError


def check_reach(host: str, api_keys: str | None) -> None:
    """Check that an address others can reach needs API keys; raise an InputError if not."""
    if not api_keys and not is_loopback(host):
        raise InputError(
            f"Other machines can reach {host}, so the service needs API keys: make one with "
            "`new_key` and give its file as `api_keys`."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """Return a socket that listens on this host and port.

    Raises:
        InputError: the address is not one of this machine's, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # without the protocol, asyncio does not set TCP_NODELAY and replies are delayed
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # on Windows, two processes could then share the port
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(2048)  # clients that connect before the service is ready wait
    except OSError as error:
        opened.close()
        raise InputError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); choose another "
            "`port` or `host`."
        ) from error
    return opened

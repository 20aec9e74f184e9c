"""Where the service listens, and who may reach it there."""

from __future__ import annotations

import ipaddress
import os
import socket

from vlad.errors import InputError


def check_reach(host: str, api_keys: str | None) -> None:
    """Raises an InputError for an address that others can reach, where no keys are asked for."""
    if not api_keys and not is_loopback(host):
        raise InputError(
            f"Others may reach {host}, so a key is needed: make one with `new_key` and give "
            "its file as `api_keys`."
        )


def is_loopback(host: str) -> bool:
    """Whether only this machine reaches an address."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def listen(host: str, port: int) -> socket.socket:
    """A socket that listens there.

    Raises:
        InputError: the address is not one of this machine, or the port is taken.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    # named in full, or asyncio does not know it for TCP and replies wait for acknowledgements
    opened = socket.socket(family, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    try:
        if os.name == "posix":  # elsewhere it would share the port with another process
            opened.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        opened.bind((host, port))
        opened.listen(2048)  # whoever comes before the service is ready waits
    except OSError as error:
        opened.close()
        raise InputError(
            f"cannot listen on {host} port {port} ({error.strerror or error}); choose another "
            "`port` or `host`."
        ) from error
    return opened

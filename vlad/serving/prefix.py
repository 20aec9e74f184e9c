"""The path under which a proxy offers the service."""

from __future__ import annotations

import re

from starlette.responses import RedirectResponse
from starlette.types import ASGIApp, Receive, Scope, Send

from vlad.errors import InputError

# a path of our own could not be told from one whose prefix the proxy left
_PREFIX = re.compile(
    r"(?!/(v1|metrics|healthz|readyz|openapi\.json)(/|$))(/[A-Za-z0-9_.~-]+)*", re.ASCII
)


class Prefix:
    """Answers requests with and without a prefix of their path, for proxies that pass either.

    Args:
        app: the application that answers.
        prefix: begins with a slash and ends without one; empty for none.
    """

    def __init__(self, app: ASGIApp, *, prefix: str):
        self.app = app
        self.prefix = prefix

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        prefix = self.prefix
        if scope["type"] != "http" or not prefix:
            await self.app(scope, receive, send)
            return
        path = scope["path"]
        if path == prefix:  # links of the page are relative to its folder
            await RedirectResponse(f"{prefix}/")(scope, receive, send)
            return
        path = path if path.startswith(f"{prefix}/") else f"{prefix}{path}"
        await self.app({**scope, "root_path": prefix, "path": path}, receive, send)


def check_prefix(given: str) -> str:
    """A prefix without the slash at its end.

    Raises:
        InputError: it is no path, or begins like a path of the service.
    """
    prefix = given.rstrip("/")
    if not _PREFIX.fullmatch(prefix):
        raise InputError(
            f"{given!r} cannot be the `root_path`; give a path of letters, digits, dots, dashes "
            "and underscores, such as /vlad, that is none of the service's own."
        )
    return prefix

"""Content-Security-Policy for pages that hold all they need."""

from __future__ import annotations

import base64
import hashlib


def policy(style: str, script: str, *more: str) -> str:
    """A policy that allows a page only its own <style> and <script>, by their hashes.

    Args:
        style, script: the exact text between the tags.
        more: further directives, as in "img-src data:".
    """

    def digest(inline: str) -> str:
        return base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()

    own = (f"style-src 'sha256-{digest(style)}'", f"script-src 'sha256-{digest(script)}'")
    fixed = ("base-uri 'none'", "form-action 'none'")
    return "; ".join(("default-src 'none'", *more, *own, *fixed))

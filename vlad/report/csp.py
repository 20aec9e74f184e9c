"""Content-Security-Policy for pages that hold all they need."""

from __future__ import annotations

import base64
import hashlib
import re


def policy(page: str, *more: str) -> str:
    """Allows the style and the script inside a page, by their hashes, and nothing else.

    Args:
        page: HTML with one <style> and one <script>.
        more: further directives, as in "img-src data:".
    """

    def digest(tag: str) -> str:
        inline = re.search(rf"<{tag}>(.*?)</{tag}>", page, re.DOTALL)[1]
        return base64.b64encode(hashlib.sha256(inline.encode()).digest()).decode()

    own = (f"style-src 'sha256-{digest('style')}'", f"script-src 'sha256-{digest('script')}'")
    fixed = ("base-uri 'none'", "form-action 'none'")
    return "; ".join(("default-src 'none'", *more, *own, *fixed))

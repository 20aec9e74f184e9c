"""The web page: one reply with its style, script and heat colours inside."""

from __future__ import annotations

import json
from pathlib import Path

from vlad.report.csp import policy
from vlad.report.heat import heat_table
from vlad.report.script import script
from vlad.report.style import style

_HERE = Path(__file__).parent
# the first four, why and keys are shared with the report; the last one connects all with the page
_SCRIPTS = (
    "csv", "marks", "threshold", "ask", "base", "service", "detectors", "images", "heat", "judge",
    "list", "marking", "why", "reasons", "large", "camera", "keys", "start",
)  # fmt: skip


def page() -> tuple[str, str]:
    """The HTML, and the Content-Security-Policy to send with it."""
    colours, opacity = heat_table()
    alpha = (opacity * 255).round().astype(int)
    table = [[*map(int, colour), int(a)] for colour, a in zip(colours, alpha, strict=True)]
    css = style(_HERE / "page.css")
    js = script(_SCRIPTS, _HERE / "js")
    js = js.replace("{{heat}}", json.dumps(table, separators=(",", ":")))
    html = (_HERE / "page.html").read_text(encoding="utf-8")
    html = html.replace("{{css}}", css).replace("{{js}}", js)
    return html, policy(css, js, "img-src blob:", "connect-src 'self'", "frame-ancestors 'none'")

"""The web page: one reply with its style, script and heat colours inside."""

from __future__ import annotations

import json
from pathlib import Path

from vlad.report.csp import policy
from vlad.report.heat import heat_table
from vlad.report.style import style


def page() -> tuple[str, str]:
    """The HTML, and the Content-Security-Policy to send with it."""
    colours, opacity = heat_table()
    alpha = (opacity * 255).round().astype(int)
    table = [[*map(int, colour), int(a)] for colour, a in zip(colours, alpha, strict=True)]
    here = Path(__file__)
    css = style(here.with_suffix(".css"))
    html, js = (here.with_suffix(end).read_text(encoding="utf-8") for end in (".html", ".js"))
    js = js.replace("{{heat}}", json.dumps(table, separators=(",", ":")))
    html = html.replace("{{css}}", css).replace("{{js}}", js)
    return html, policy(css, js, "img-src blob:", "connect-src 'self'", "frame-ancestors 'none'")

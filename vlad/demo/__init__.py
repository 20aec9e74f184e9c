"""Images that ship with vlad, in MVTec layout: hazelnuts and cookies (see ATTRIBUTION.txt)."""

from pathlib import Path

HAZELNUT = Path(__file__).parent / "hazelnut"
COOKIE = Path(__file__).parent / "cookie"

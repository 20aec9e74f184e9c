"""Images that ship with vlad: hazelnuts in MVTec layout (CC BY 4.0, see ATTRIBUTION.txt)."""

from pathlib import Path

HAZELNUT = Path(__file__).parent / "hazelnut"

"""The programs in tools/ are not installed; their folder is where Python looks for them."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[2] / "tools"))

"""The checks that tests of every kind of backbone share can be imported."""

import sys
from pathlib import Path

sys.path.append(str(Path(__file__).parent))

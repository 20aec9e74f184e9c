"""Saved detectors that would send images to another machine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from vlad.errors import InputError
from vlad.system.text import shown
from vlad.vlm.http import Client, host_of

ALLOWED = "VLAD_VLM_HOST"


def check_endpoint(settings: Mapping[str, Any], folder: Path) -> None:
    """Check that a saved detector sends images to this machine alone, or where the user said.

    A detector may come from somebody else, and the key of the endpoint would go there too.

    Raises:
        InputError: another host than that in VLAD_VLM_HOST.
        VlmError: an address that cannot be used.
    """
    address = (settings.get("head_params") or {}).get("model")
    if not isinstance(address, str) or "://" not in address:
        return
    host, allowed = host_of(address), os.environ.get(ALLOWED, "").strip().lower()
    if not Client(address, 1.0, None).is_here and host != allowed:
        raise InputError(
            f"The detector in {folder} sends images to {shown(host)}; set {ALLOWED} to that name "
            "if they may go there."
        )

"""Answers of vision-language models on disk, so that a question is asked once."""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, TypeVar

from PIL import Image

from vlad.system.files import cache_write
from vlad.system.resources import cache_folder
from vlad.vlm.model import Request

T = TypeVar("T")
COSTS = ("seconds", "tokens_in", "tokens_out")  # a kept answer has none
MAX_TEXT = 2**16  # characters
MAX_FILES = 400  # of each of 256 folders; an answer has about 1 kB


class Answers:
    """Answers in `vlm/` of vlad's cache folder, by model, question and pixels.

    Without a place for a cache nothing is kept. The oldest answers make room for new ones beyond
    about 100,000.
    """

    def key(self, identity: str, request: Request, how: tuple) -> str:
        """SHA-256 (hex) of what an answer depends on."""
        parts = [identity, request.text, [_digest(image) for image in request.images], how]
        return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()

    def get(self, key: str, kind: Callable[..., T]) -> T | None:
        """The answer of a key, which costs no time and no tokens; or None."""
        with contextlib.suppress(OSError, ValueError, TypeError, AttributeError, RuntimeError):
            values = json.loads((_folder() / key[:2] / f"{key}.json").read_text(encoding="utf-8"))
            if isinstance(values.get("probabilities"), list):
                values["probabilities"] = tuple(values["probabilities"])
            costs = [key for key in COSTS if key in values]
            return kind(**{**values, **dict.fromkeys(costs, 0)})
        return None

    def put(self, key: str, reply: Any) -> None:
        """Keep an answer; one that failed, or that no model should give, is asked for again."""
        if reply.error or len(reply.text) > MAX_TEXT:
            return
        with contextlib.suppress(OSError, RuntimeError):
            folder = _folder() / key[:2]
            cache_write(folder / f"{key}.json", json.dumps(asdict(reply)).encode())
            files = sorted(folder.glob("*.json"), key=lambda file: file.stat().st_mtime)
            for file in files[:-MAX_FILES]:
                file.unlink(missing_ok=True)


def _folder() -> Path:
    return cache_folder() / "vlm"


def _digest(image: Image.Image) -> str:
    found = hashlib.sha256(f"{image.mode} {image.size}".encode())
    found.update(image.tobytes())
    return found.hexdigest()

"""A folder that a command writes and may continue: a settings file in it says what made it."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass
from fnmatch import fnmatch
from pathlib import Path
from typing import Any

from vlad.errors import OutputError
from vlad.system.files import atomic_write, check_writable
from vlad.system.formats import FORMAT, check_format
from vlad.system.resources import read_json
from vlad.system.text import encode


@dataclass(frozen=True)
class Workspace:
    """One kind of such a folder; `read`, `names` and `write` may be replaced for other places.

    Attributes:
        kind: what the settings file says it is, as in "vlad run".
        file: the name of the settings file.
        fields: the names of all settings that it may hold.
        parts: patterns of the names of what else may be written there.
    """

    kind: str
    file: str
    fields: tuple[str, ...]
    parts: tuple[str, ...]

    def settings(self, out: Path) -> dict | None:
        """What the settings file holds; None if there is none of this kind.

        Raises:
            OutputError: a newer vlad wrote it.
        """
        try:
            written = self.read(out)
        except (OSError, ValueError):
            return None
        if not isinstance(written, dict) or written.get("kind") != self.kind:
            return None
        check_format(written, ("kind", *self.fields), out / self.file, OutputError)
        return {"format": FORMAT, **written}

    def holds(self, out: str | Path, **settings: object) -> bool:
        """Whether the folder is of this kind, made with these settings."""
        written = self.settings(Path(out))
        return written is not None and settings.items() <= written.items()

    def check(self, out: str | Path, *, resume: bool = False, overwrite: bool = False) -> list[str]:
        """Check that one may be written to `out`, before anything is computed.

        Returns:
            the names of what exists of it, the settings file first.

        Raises:
            OutputError: it holds one that is neither resumed nor overwritten, or of a newer vlad,
                or something else of these names, or a part of the path is a file or may not be
                written to.
        """
        out = Path(out) if isinstance(out, str) else out
        names = self.names(out)
        patterns = (self.file, *self.parts)
        present = [name for pattern in patterns for name in names if fnmatch(name, pattern)]
        if present and self.settings(out) is None:
            raise OutputError(
                f"{out} holds {present[0]} but no {self.kind}, so it is left unchanged; choose "
                "another folder."
            )
        if present and not (resume or overwrite):
            raise OutputError(
                f"{out} already holds a {self.kind}; add `resume` to continue it, `overwrite` to "
                "start again, or choose another folder."
            )
        return present

    def continues(self, out: Path, settings: Mapping) -> bool:
        """Whether there is one to continue with these settings; False if there is none.

        Raises:
            OutputError: the one there was started with other settings.
        """
        written = self.settings(out)
        if written is None:
            return False
        # through JSON, so that it compares equal to what is read back
        now = json.loads(json.dumps({"kind": self.kind, "format": FORMAT, **settings}))
        if found := differences(written, now):
            raise OutputError(
                f"{out} was started with other settings ({'; '.join(found)}); repeat the first "
                "command, start again with `overwrite` where it is offered, or choose another "
                "folder."
            )
        return True

    def begin(self, out: Path, settings: Mapping) -> None:
        """Write the settings file.

        Raises:
            OutputError: the folder cannot be written to.
        """
        content = {"kind": self.kind, "format": FORMAT, **settings}
        text = json.dumps(content, indent=2, ensure_ascii=False) + "\n"
        self.write(out, encode(text))

    def read(self, out: Path) -> Any:
        """The content of the settings file.

        Raises:
            OSError, ValueError: there is none, or it is not JSON.
        """
        return read_json(out / self.file)

    def names(self, out: Path) -> list[str]:
        """What is in the folder.

        Raises:
            OutputError: it may not be written to.
        """
        check_writable(out)
        return sorted(os.listdir(out)) if out.is_dir() else []

    def write(self, out: Path, content: bytes) -> None:
        """Write the settings file.

        Raises:
            OutputError: the folder cannot be written to.
        """
        atomic_write(out / self.file, content)


def differences(old: Mapping, new: Mapping, prefix: str = "") -> list[str]:
    """The settings that differ, in words."""
    found = []
    for key in dict.fromkeys([*old, *new]):
        was, now = old.get(key), new.get(key)
        if isinstance(was, dict) and isinstance(now, dict):
            found += differences(was, now, f"{prefix}{key}.")
        elif was != now:
            text = f"{prefix}{key}: {was} there, {now} now"
            found.append(text if len(text) < 120 else f"{prefix}{key}")
    return found

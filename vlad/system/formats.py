"""The format of files that vlad writes and reads again, and those of a newer vlad."""

from __future__ import annotations

import os
from collections.abc import Collection, Mapping

from vlad.errors import InputError, VladError
from vlad.system.text import shown

FORMAT = 1  # increase when an older vlad would misread a file


def check_format(
    content: Mapping[str, object],
    fields: Collection[str],
    file: str | os.PathLike[str],
    error: type[VladError] = InputError,
) -> None:
    """Check that this version knows all that a file says.

    Args:
        content: the fields of the file; without `format`, it is the first one.
        fields: those known, besides `format`.
        file: its name for the sentence.
        error: raised if it is of a newer vlad.
    """
    unknown = content.keys() - {"format", *fields}
    if (number := content.get("format", FORMAT)) != FORMAT:
        why = f"format {shown(number)}; this version reads {FORMAT}"
    elif unknown:
        why = f"its field {shown(min(unknown, key=str))} is unknown here"
    else:
        return
    raise error(
        f"{os.fspath(file)} was written by a newer vlad ({why}); install that one, or give a file "
        "that this version wrote."
    )

"""Foreign text: CSV lines that take any file name, and words for sentences and terminals.

File names that are not UTF-8 reach us with surrogates; on disk they get their own bytes back.
Spreadsheets take cells that begin with one of `=+-@` (or their wide forms) for formulas, also
behind the separators of other countries. `csv_path` and `csv_text` keep names and sentences text.
"""

from __future__ import annotations

import io
import re
from collections.abc import Iterable
from difflib import get_close_matches

_FORMULA = r"[=+\-@\t\r\n＝＋－＠]"
_STARTS_FORMULA = re.compile(_FORMULA)
_HIDES_FORMULA = re.compile(rf"(?:^|(?<=[;\t\r\n]))(?={_FORMULA})")
_LONGEST = 200  # characters of a foreign value in a sentence


def encode(text: str) -> bytes:
    """Text with any file names in it as the bytes of a file."""
    return text.encode("utf-8", "surrogateescape")


def decode(data: bytes) -> str:
    """The inverse of `encode`."""
    return data.decode("utf-8", "surrogateescape")


def printable(text: str) -> str:
    """Valid Unicode for any file name: bytes that are not UTF-8 become `\\xNN`."""
    return encode(text).decode("utf-8", "backslashreplace")


def shown(value: object, keep: str = "") -> str:
    """A value as text for a sentence or a terminal: what does not print becomes an escape.

    Args:
        keep: characters that stay as they are, such as line ends; long text is then not cut.
    """
    text = str(value)
    if not keep and len(text) > _LONGEST:
        text = text[:_LONGEST] + "…"
    plain = (
        c if c.isprintable() or c in keep else c.encode("unicode_escape").decode() for c in text
    )
    return "".join(plain)


def counted(number: int, noun: str) -> str:
    """ "1 image", "2 images"."""
    return f"{number} {noun}" + "s" * (number != 1)


def csv_path(path: str) -> str:
    """A path as a cell that is no formula, and still names the same file; see `path_of`."""
    return f"./{path}" if _STARTS_FORMULA.match(path) else path


def path_of(cell: str) -> str:
    """The inverse of `csv_path`; paths of pathlib never begin with "./"."""
    return cell.removeprefix("./")


def csv_text(text: str) -> str:
    """A sentence as a cell that is no formula in any country; the same for what it has made."""
    return _HIDES_FORMULA.sub("'", text)


def csv_line(cells: Iterable[str]) -> str:
    """One record of CSV, quoted where it must be, with its line end."""
    # csv.writer leaves a lone carriage return unquoted before Python 3.13
    quoted = ('"' + c.replace('"', '""') + '"' if set(c) & set(',;"\t\r\n') else c for c in cells)
    return ",".join(quoted) + "\n"


def end_of_last_record(data: bytes) -> int:
    """Bytes up to the last line end outside quotes: what follows was cut off while written."""
    end = position = quotes = 0
    for line in io.BytesIO(data):
        position += len(line)
        quotes += line.count(b'"')
        if line.endswith(b"\n") and quotes % 2 == 0:
            end = position
    return end


def nearest(name: object, names: Iterable[str]) -> str | None:
    """The one of some names that was probably meant; None where none is near."""
    known = {other.casefold(): other for other in names}
    found = get_close_matches(str(name).casefold(), known, 1)
    return known[found[0]] if found else None


def instead(name: object, names: Iterable[str], otherwise: str = "", prefix: str = "") -> str:
    """The end of a sentence about an unknown name: the nearest one, or what else to do.

    Args:
        otherwise: what to do where none is near; by default, to choose from all there are.
        prefix: what the sentence has before each name.
    """
    names = list(names)
    if near := nearest(name, names):
        return f". Did you mean {prefix}{near}?"
    listed = ", ".join(prefix + other for other in names)
    return f"; {otherwise or (f'choose from {listed}' if names else 'leave it out')}."

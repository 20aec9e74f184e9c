"""Rows of CSV files that people edit in spreadsheets."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterator
from pathlib import Path

from vlad.errors import InputError
from vlad.system.resources import check_regular

_SEPARATOR = re.compile(r"sep=(.)\s*", re.IGNORECASE)  # the line that Excel reads and writes


def read_rows(path: Path, what: str, header: str) -> Iterator[tuple[int, dict[str, str]]]:
    """Line number and cells by lower-case column name of each non-blank line.

    Columns are separated by comma, semicolon or tab; the line `sep=;` of Excel may be above them.

    Args:
        path: a UTF-8 file, with or without a byte-order mark.
        what: what such a file is called in errors.
        header: an example of its first line. Its first column has to be there.

    Raises:
        InputError: an unreadable file, or a line with too many cells.
    """
    try:
        check_regular(path)
        with path.open(encoding="utf-8-sig", newline="") as file:
            first, above = file.readline(), 1
            if _SEPARATOR.fullmatch(first):
                first, above = file.readline(), 2
            delimiter = _delimiter(first, path, header)
            names = _cells(next(csv.reader([first], delimiter=delimiter)))
            names = [name.lower() for name in names]
            reader = csv.reader(file, delimiter=delimiter)
            for row in reader:
                cells = _cells(row)
                line = reader.line_num + above
                if len(cells) > len(names) and any(cells[len(names) :]):
                    raise InputError(
                        f"line {line} of {path} has {len(cells)} cells for {len(names)} columns; "
                        'put cells that contain a separator between quotes (").'
                    )
                if any(cells):
                    cells += [""] * (len(names) - len(cells))
                    yield line, dict(zip(names, cells, strict=False))
    except OSError as error:
        raise InputError(
            f"cannot read the {what} {path}: {error.strerror}; check the path and permissions."
        ) from error
    except UnicodeDecodeError as error:
        raise InputError(
            f"the {what} {path} is not UTF-8 text (line {_line_of_damage(path)}); save it as CSV "
            "UTF-8."
        ) from error
    except csv.Error as error:
        raise InputError(f"the {what} {path} is not CSV ({error}); save it again.") from error


def _line_of_damage(path: Path) -> int:
    with path.open("rb") as file:
        for number, line in enumerate(file, 1):
            try:
                line.decode()
            except UnicodeDecodeError:
                return number
    return 1


def _delimiter(first: str, path: Path, header: str) -> str:
    needed = header.partition(",")[0]
    for delimiter in ",;\t":
        names = _cells(next(csv.reader([first], delimiter=delimiter), []))
        if needed in [name.lower() for name in names]:
            return delimiter
    raise InputError(
        f"the first line of {path} has no column {needed}; begin with a line such as {header}."
    )


def _cells(row: list[str]) -> list[str]:
    return [cell.strip() for cell in row]

"""The records of a CSV file, one at a time: a file of a million rows is never held twice."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from models.errors import InvalidRequestError

_NAMED_ID = 80


@dataclass(frozen=True)
class Records:
    """A CSV file: its *header*, and its *rows* as (line, fields), to be read once."""

    path: Path
    header: tuple[str, ...]
    rows: Iterator[tuple[int, list[str]]]

    def refuse(self, line: int, fault: str) -> InvalidRequestError:
        """The error for what is wrong in *line*."""
        return InvalidRequestError(f"{self.path} line {line}: {fault}")


def open_records(path: Path) -> Records:
    """The records of *path*; a byte order mark, CRLF and empty lines do not matter.

    Every row has as many fields as the header. What is found wrong while *rows* are read
    is raised there, too.

    Raises:
        InvalidRequestError: it cannot be read, is no UTF-8, or has no header of two or
            more different columns.
    """
    rows = _records(path)
    _, header = next(rows, (1, []))
    if len(header) < 2 or len(set(header)) < len(header):
        message = (
            f"{path} begins with {','.join(header)[:_NAMED_ID]!r}: the first line has to "
            "name an id column and one or more others, each once"
        )
        raise InvalidRequestError(message)
    return Records(path, tuple(header), _of_width(path, rows, len(header)))


def index_ids(
    records: Records, ids: Sequence[str], lines: Sequence[int]
) -> dict[str, int]:
    """The row of each id.

    Raises:
        InvalidRequestError: there is no row, or an id is there twice.
    """
    if not ids:
        raise InvalidRequestError(f"{records.path} has a header and no rows")
    index = dict(zip(ids, range(len(ids)), strict=True))
    if len(index) == len(ids):
        return index
    # The dictionary holds the last row of an id; an earlier one shows the repetition.
    row = next(row for row, id_ in enumerate(ids) if index[id_] != row)
    again = lines[index[ids[row]]]
    raise records.refuse(
        again, f"id {shorten(ids[row])} is on line {lines[row]} already"
    )


def shorten(text: str) -> str:
    """*text* as a message quotes it."""
    return repr(text if len(text) <= _NAMED_ID else text[:_NAMED_ID] + "...")


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open(newline="", encoding="utf-8-sig") as stream:
            reader = csv.reader(stream, strict=True)
            for fields in reader:
                if fields:
                    yield reader.line_num, fields
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{path} cannot be read as CSV: {error}") from error


def _of_width(
    path: Path, rows: Iterator[tuple[int, list[str]]], width: int
) -> Iterator[tuple[int, list[str]]]:
    for line, fields in rows:
        if len(fields) != width:
            message = (
                f"{path} line {line} has {len(fields)} fields, the header has {width}: "
                f"{shorten(','.join(fields))}"
            )
            raise InvalidRequestError(message)
        yield line, fields

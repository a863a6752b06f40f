"""The records of a CSV file, one at a time: a file of a million rows is never held twice."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError, quoted
from models.text import (
    HEAD_BYTES,
    PHOTO_COLUMNS,
    CsvDialect,
    CsvFaultError,
    column_key,
    find_dialect,
    normal_name,
    read_csv_rows,
)

_INDEX: Final = ("", "Unnamed: 0")


@dataclass(frozen=True)
class Records:
    """A CSV file: its *header*, and its *rows* as (line, fields), to be read once.

    Names of columns and ids, the first fields, are in their normal form (`normal_name`).
    """

    path: Path
    dialect: CsvDialect
    header: tuple[str, ...]
    rows: Iterator[tuple[int, list[str]]]

    def refuse(self, line: int, fault: str) -> InvalidRequestError:
        """The error for what is wrong in *line*."""
        return InvalidRequestError(f"{self.path} line {line}: {fault}")

    def number(self, field: str) -> float:
        """The number in *field*; without commas between columns it may have a comma.

        Raises:
            ValueError: it is none.
        """
        plain = self.dialect.delimiter == ","
        try:
            return float(field if plain else field.replace(",", "."))
        except ValueError as error:
            raise ValueError(f"{quoted(field)} is no number") from error


def open_records(path: Path) -> Records:
    """The records of *path*, whatever its delimiter, encoding and line ends.

    Every row has as many fields as the header. What is found wrong while *rows* are read
    is raised there, too.

    Raises:
        InvalidRequestError: it cannot be read, is no UTF-8 or UTF-16, has no header of
            two or more different columns, or has a data frame's index before the ids.
    """
    rows = _records(path)
    _, header = next(rows, (1, []))
    if len(header) < 2 or len(set(map(normal_name, header))) < len(header):
        message = (
            f"{path} begins with {quoted(','.join(header))}: the first line has to name "
            "an id column and one or more others, each once"
        )
        raise InvalidRequestError(message)
    if header[0].strip() in _INDEX and column_key(header[1]) in PHOTO_COLUMNS:
        message = (
            f"{path} begins with a column of row numbers before {quoted(header[1])}, the "
            "index of a data frame: write it with index=False (R: row.names=FALSE)"
        )
        raise InvalidRequestError(message)
    with path.open("rb") as stream:
        dialect = find_dialect(stream.read(HEAD_BYTES))
    return Records(path, dialect, tuple(map(normal_name, header)), rows)


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
        again, f"id {quoted(ids[row])} is on line {lines[row]} already"
    )


def _records(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as stream:
            for line, fields in read_csv_rows(stream):
                yield line, [normal_name(fields[0]), *fields[1:]]
    except CsvFaultError as fault:
        message = f"{path} line {fault.line}: {fault}"
        raise InvalidRequestError(message) from fault
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read as CSV: {error}") from error

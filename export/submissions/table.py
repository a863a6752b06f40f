"""A submission as arrays: its ids, and the probabilities that it gives them."""

from __future__ import annotations

from array import array
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.submissions.records import Records, index_ids, open_records
from models.errors import quoted
from models.text import CsvDialect


@dataclass(frozen=True)
class SubmissionTable:
    """What a submission says.

    Attributes:
        header: as it is in the file, in normal form.
        dialect: how the file is written.
        columns: names of the probabilities' columns; one is P(positive label).
        rows: the row of each id, in the file's order.
        values: [N, columns], each from 0 to 1; several are not all 0.
    """

    path: Path
    dialect: CsvDialect
    header: tuple[str, ...]
    columns: tuple[str, ...]
    rows: dict[str, int]
    values: NDArray[np.float64]


def read_submission(path: Path) -> SubmissionTable:
    """The submission in *path*: kaggle-binary, kaggle-multiclass or full.

    Raises:
        InvalidRequestError: not such a file; the message names the line and the id.
    """
    records = open_records(path)
    skipped = _columns_before_values(records.header)
    ids: list[str] = []
    lines, values = array("L"), array("d")
    for line, fields in records.rows:
        ids.append(fields[0])
        lines.append(line)
        try:
            values.extend(map(records.number, fields[skipped:]))
        except ValueError as error:
            fault = f"id {quoted(fields[0])}: {error}"
            raise records.refuse(line, fault) from error
    rows = index_ids(records, ids, lines)
    table = np.frombuffer(values, dtype=np.float64).reshape(len(ids), -1)
    _check_values(records, table, ids, lines)
    return SubmissionTable(
        path, records.dialect, records.header, records.header[skipped:], rows, table
    )


def _columns_before_values(header: tuple[str, ...]) -> int:
    # "full" has the likeliest label between the id and the probabilities.
    return 2 if len(header) > 3 and header[1].lower() == "label" else 1


def _check_values(
    records: Records, values: NDArray[Any], ids: list[str], lines: array[int]
) -> None:
    # Written so that NaN, which compares as false, is found, too.
    wrong = ~((values >= 0) & (values <= 1)).all(axis=1)
    fault = "is no probability from 0 to 1"
    if not wrong.any() and values.shape[1] > 1:
        wrong = ~values.any(axis=1)
        fault = "are all 0: the probabilities of a row are divided by their sum"
    found = np.flatnonzero(wrong)
    if len(found):
        row = int(found[0])
        shown = ", ".join(f"{each:g}" for each in values[row][:10])
        more = f" ({len(found)} such rows)" if len(found) > 1 else ""
        fault = f"id {quoted(ids[row])}: {shown} {fault}{more}"
        raise records.refuse(lines[row], fault)

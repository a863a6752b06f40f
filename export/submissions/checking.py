"""Whether a CSV may be handed in: what a competition would refuse is told before."""

from __future__ import annotations

import csv
from dataclasses import dataclass
from pathlib import Path

from export.submissions.matching import check_ids
from export.submissions.records import open_records
from export.submissions.table import read_submission
from models.errors import InvalidRequestError
from models.files import hash_file
from models.text import CsvDialect


@dataclass(frozen=True)
class CheckedSubmission:
    """A CSV that can be handed in."""

    path: Path
    header: tuple[str, ...]
    rows: int
    size_bytes: int
    sha256: str


def check_submission(path: Path, sample: Path | None = None) -> CheckedSubmission:
    """Accept the submission in *path*: readable, each id once, only probabilities.

    With the competition's *sample* it must also have that header and exactly those ids,
    in any order.

    Raises:
        InvalidRequestError: it cannot be handed in; the message names the line or id.
        OSError: it is gone.
    """
    table = read_submission(path)
    if table.dialect != CsvDialect("utf-8-sig", ",") or not _is_plain(path):
        message = (
            f"{path} is no plain CSV ({table.dialect.encoding}, columns separated by "
            f"{table.dialect.delimiter!r}): save it with commas, in UTF-8, with the "
            "header as the first line and no spaces or empty columns in it"
        )
        raise InvalidRequestError(message)
    if sample is not None:
        records = open_records(sample)
        if records.header != table.header:
            message = (
                f"{path} has the header {','.join(table.header)}, {sample} has "
                f"{','.join(records.header)}"
            )
            raise InvalidRequestError(message)
        check_ids(path, table.rows, sample, (row[0] for _, row in records.rows))
    return CheckedSubmission(
        path, table.header, len(table.rows), path.stat().st_size, hash_file(path)
    )


def _is_plain(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream), [])
    return all(name and name == name.strip() for name in header)

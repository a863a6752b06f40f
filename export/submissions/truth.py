"""The truth as a CSV: `id,label` with 0 and 1 or with names, or a column for each label.

Kaggle's own solution files have a column `Usage` besides; rows that it says to ignore are
not scored.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.submissions.records import Records, index_ids, open_records
from models.errors import InvalidRequestError, quoted, quoted_names
from models.text import normal_name, parse_flag

USAGE: Final = "usage"
IGNORED: Final = "ignored"


@dataclass(frozen=True)
class Truth:
    """Which label each image has.

    Attributes:
        rows: the row of each id.
        labels: every label that occurs, in its normal form.
        numbers: [N] the label of each row, as a position in *labels*.
        scored: [N] whether the row counts.
    """

    path: Path
    rows: dict[str, int]
    labels: tuple[str, ...]
    numbers: NDArray[np.int64]
    scored: NDArray[np.bool_]


def read_truth(path: Path) -> Truth:
    """The truth in *path*.

    Raises:
        InvalidRequestError: not such a file; the message names the line and the id.
    """
    records = open_records(path)
    usage = _usage_column(records.header)
    values = [each for each in range(1, len(records.header)) if each != usage]
    if not values:
        raise InvalidRequestError(f"{path} has no column of labels beside {USAGE!r}")
    known: dict[str, int] = {}
    ids: list[str] = []
    lines, numbers, scored = array("L"), array("q"), array("b")
    for line, fields, label in _labelled(records, values):
        ids.append(fields[0])
        lines.append(line)
        numbers.append(known.setdefault(label, len(known)))
        scored.append(usage == 0 or fields[usage].strip().lower() != IGNORED)
    return Truth(
        path,
        index_ids(records, ids, lines),
        tuple(known),
        np.frombuffer(numbers, dtype=np.int64),
        np.frombuffer(scored, dtype=np.bool_),
    )


def _usage_column(header: Sequence[str]) -> int:
    """0, where the ids are, if there is none."""
    names = [name.lower() for name in header]
    return names.index(USAGE, 1) if USAGE in names[1:] else 0


def _labelled(
    records: Records, values: Sequence[int]
) -> Iterator[tuple[int, list[str], str]]:
    if len(values) == 1:
        for line, fields in records.rows:
            label = normal_name(fields[values[0]])
            if not label:
                fault = f"id {quoted(fields[0])} has no label: add it or remove the row"
                raise records.refuse(line, fault)
            yield line, fields, label
        return
    for line, fields in records.rows:
        flags = {each: parse_flag(fields[each]) for each in values}
        marked = [each for each, flag in flags.items() if flag]
        if len(marked) != 1 or None in flags.values():
            names = quoted_names(records.header[each] for each in values)
            fault = (
                f"id {quoted(fields[0])} needs one 1 and otherwise 0, for the columns "
                f"{names} are taken for labels: for names of labels keep one column"
            )
            raise records.refuse(line, fault)
        yield line, fields, records.header[marked[0]]

"""Submission and truth CSVs: read strictly, matched by id, checked before upload.

Rows are read one at a time: a file of a million rows is never in memory twice. Every
error names the file and the line or the id.
"""

from __future__ import annotations

import csv
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequestError, quoted, quoted_names
from models.files import hash_file
from models.text import (
    HEAD_BYTES,
    PHOTO_COLUMNS,
    CsvDialect,
    CsvFaultError,
    column_key,
    find_dialect,
    nearest_name,
    normal_name,
    parse_flag,
    read_csv_rows,
)

_INDEX: Final = ("", "Unnamed: 0")
_USAGE: Final = "usage"
_IGNORED: Final = "ignored"
_BINARY_NAMES: Final = ({"0": 0, "1": 1}, {"0.0": 0, "1.0": 1})
_NAMED_LABELS: Final = 10


@dataclass(frozen=True)
class SubmissionTable:
    """The probabilities of a submission.

    Attributes:
        dialect: encoding and delimiter of the file.
        header: names of all columns, in normal form.
        columns: names of the columns of probabilities; a single one is P(positive label).
        rows: the row of each id, in the order of the file.
        values: [N, columns], each from 0 to 1; in a row of several not all are 0.
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
        InvalidRequestError: it is no such file; the message names the line and the id.
    """
    records = open_records(path)
    skipped = _first_value_column(records.header)
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
    rows = _index_ids(records, ids, lines)
    table = np.frombuffer(values, dtype=np.float64).reshape(len(ids), -1)
    _check_values(records, table, ids, lines)
    return SubmissionTable(
        path, records.dialect, records.header, records.header[skipped:], rows, table
    )


@dataclass(frozen=True)
class Truth:
    """The true label of each image.

    Attributes:
        rows: the row of each id.
        labels: every label that occurs, in normal form.
        numbers: [N] the label of each row, as a position in *labels*.
        scored: [N] whether the row counts.
    """

    path: Path
    rows: dict[str, int]
    labels: tuple[str, ...]
    numbers: NDArray[np.int64]
    scored: NDArray[np.bool_]


def read_truth(path: Path) -> Truth:
    """The truth in *path*: a label for each id, or a column for each label.

    Raises:
        InvalidRequestError: it is no such file; the message names the line and the id.
    """
    records = open_records(path)
    usage = _usage_column(records.header)
    values = [each for each in range(1, len(records.header)) if each != usage]
    if not values:
        raise InvalidRequestError(f"{path} has no column of labels beside {_USAGE!r}")
    known: dict[str, int] = {}
    ids: list[str] = []
    lines, numbers, scored = array("L"), array("q"), array("b")
    for line, fields, label in _labelled_rows(records, values):
        ids.append(fields[0])
        lines.append(line)
        numbers.append(known.setdefault(label, len(known)))
        scored.append(usage == 0 or fields[usage].strip().lower() != _IGNORED)
    return Truth(
        path,
        _index_ids(records, ids, lines),
        tuple(known),
        np.frombuffer(numbers, dtype=np.int64),
        np.frombuffer(scored, dtype=np.bool_),
    )


@dataclass(frozen=True)
class MatchedImages:
    """Probabilities and true labels of the images that count.

    Attributes:
        positive: the label whose probability a single column holds; None: several columns.
        labels: of the columns of *probabilities*.
        probabilities: [N, K], as submitted.
        classes: [N] the true label of each image.
    """

    positive: str | None
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    classes: NDArray[np.int64]


def match_truth(
    submitted: SubmissionTable, truth: Truth, positive: str | None
) -> MatchedImages:
    """The images of *truth* that count, with their probabilities in *submitted*.

    *positive* is the label whose probability a single column holds; None: the label 1,
    or the last of two names in alphabetical order.

    Raises:
        InvalidRequestError: the ids or the labels differ; the message names them.
    """
    check_ids(submitted.path, submitted.rows, truth.path, truth.rows)
    labels, classes = _match_labels(submitted, truth, positive)
    ids = list(truth.rows)
    order = np.fromiter((submitted.rows[each] for each in ids), np.int64, len(ids))
    values = submitted.values[order]
    positive = labels[1] if values.shape[1] == 1 else None
    if positive is not None:
        values = np.concatenate([1 - values, values], axis=1)
    if not truth.scored.all():
        kept = np.flatnonzero(truth.scored)
        ids = [ids[row] for row in kept]
        values, classes = values[kept], classes[kept]
    if not ids:
        raise InvalidRequestError(f"every row of {truth.path} is marked {_IGNORED!r}")
    return MatchedImages(positive, tuple(ids), labels, values, classes)


def check_ids(
    path: Path, given: Iterable[str], other: Path, wanted: Iterable[str]
) -> None:
    """Accept the ids *given* in *path* if they are those *wanted* by *other*.

    Raises:
        InvalidRequestError: they are not; the message names the first difference.
    """
    known, needed = set(given), dict.fromkeys(wanted)
    missing = [each for each in needed if each not in known]
    if missing:
        message = f"{path} lacks {len(missing)} of the ids in {other}"
        own = sorted(known.difference(needed))
        near = nearest_name(missing[0], own)
        nearest = f"; the nearest it has is {quoted(near)}" if near else ""
        if own and not near:
            nearest = f", the first that only it has is {quoted(own[0])}"
        first = f"the first is {quoted(missing[0])}{nearest}"
        raise InvalidRequestError(f"{message}, {first}")
    if len(known) > len(needed):
        extra = min(known.difference(needed))
        message = f"{path} has {len(known) - len(needed)} ids that are not in {other}"
        raise InvalidRequestError(f"{message}, the first is {quoted(extra)}")


@dataclass(frozen=True)
class CheckedSubmission:
    """A CSV that a competition would accept."""

    path: Path
    header: tuple[str, ...]
    rows: int
    size_bytes: int
    sha256: str


def check_submission(path: Path, sample: Path | None = None) -> CheckedSubmission:
    """Accept the submission in *path*: a plain CSV, each id once, only probabilities.

    With the competition's *sample* it must also have its header and exactly its ids, in
    any order.

    Raises:
        InvalidRequestError: a competition would refuse it; the message names the line
            or id.
        OSError: the file is gone.
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


@dataclass(frozen=True)
class CsvRecords:
    """A CSV file: its *header*, and its *rows* as (line, fields), to be read once.

    Column names and ids, the first fields, are in normal form (`normal_name`).
    """

    path: Path
    dialect: CsvDialect
    header: tuple[str, ...]
    rows: Iterator[tuple[int, list[str]]]

    def refuse(self, line: int, fault: str) -> InvalidRequestError:
        """The error for a *fault* in *line*."""
        return InvalidRequestError(f"{self.path} line {line}: {fault}")

    def number(self, field: str) -> float:
        """The number in *field*; its decimal point may be a comma unless that delimits.

        Raises:
            ValueError: it is no number.
        """
        plain = self.dialect.delimiter == ","
        try:
            return float(field if plain else field.replace(",", "."))
        except ValueError as error:
            raise ValueError(f"{quoted(field)} is no number") from error


def open_records(path: Path) -> CsvRecords:
    """The rows of *path*, for any usual delimiter, encoding and line end.

    Every row has as many fields as the header; faults in rows are raised while *rows* are
    read.

    Raises:
        InvalidRequestError: it cannot be read, is no UTF-8 or UTF-16, has no header of
            two or more different columns, or has a data frame's index before the ids.
    """
    rows = _read_records(path)
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
    return CsvRecords(path, dialect, tuple(map(normal_name, header)), rows)


def _index_ids(
    records: CsvRecords, ids: Sequence[str], lines: Sequence[int]
) -> dict[str, int]:
    if not ids:
        raise InvalidRequestError(f"{records.path} has a header and no rows")
    index = dict(zip(ids, range(len(ids)), strict=True))
    if len(index) == len(ids):
        return index
    # The index has the last row of each id: an earlier row is a repetition.
    row = next(row for row, id_ in enumerate(ids) if index[id_] != row)
    again = lines[index[ids[row]]]
    raise records.refuse(
        again, f"id {quoted(ids[row])} is on line {lines[row]} already"
    )


def _read_records(path: Path) -> Iterator[tuple[int, list[str]]]:
    try:
        with path.open("rb") as stream:
            for line, fields in read_csv_rows(stream):
                yield line, [normal_name(fields[0]), *fields[1:]]
    except CsvFaultError as fault:
        message = f"{path} line {fault.line}: {fault}"
        raise InvalidRequestError(message) from fault
    except OSError as error:
        raise InvalidRequestError(f"{path} cannot be read as CSV: {error}") from error


def _first_value_column(header: tuple[str, ...]) -> int:
    # "full" has the likeliest label between the id and the probabilities.
    return 2 if len(header) > 3 and header[1].lower() == "label" else 1


def _check_values(
    records: CsvRecords, values: NDArray[Any], ids: list[str], lines: array[int]
) -> None:
    # NaN compares as false, so this finds it too.
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


def _usage_column(header: Sequence[str]) -> int:
    """The number of the usage column; 0, the ids' number, if there is none."""
    names = [name.lower() for name in header]
    return names.index(_USAGE, 1) if _USAGE in names[1:] else 0


def _labelled_rows(
    records: CsvRecords, values: Sequence[int]
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


def _match_labels(
    submitted: SubmissionTable, truth: Truth, positive: str | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if len(submitted.columns) > 1:
        labels = submitted.columns
        numbers = {name: number for number, name in enumerate(labels)}
    else:
        numbers = _binary_labels(truth, positive)
        labels = tuple(sorted(numbers, key=numbers.__getitem__))
    unknown = [label for label in truth.labels if label not in numbers]
    if unknown:
        known = ", ".join(list(labels)[:_NAMED_LABELS])
        message = (
            f"{truth.path} has the label {quoted(unknown[0])}, {submitted.path} only "
            f"{known}: call the labels the same in both"
        )
        raise InvalidRequestError(message)
    by_code = np.array([numbers[label] for label in truth.labels])
    return labels, by_code[truth.numbers]


def _binary_labels(truth: Truth, positive: str | None) -> dict[str, int]:
    found = set(truth.labels)
    positive = None if positive is None else normal_name(positive)
    for ones in _BINARY_NAMES:
        if positive is None and found <= set(ones):
            return ones
    if positive is not None and positive in found and len(found) <= 2:
        others = found - {positive} or {f"not {positive}"}
        return {others.pop(): 0, positive: 1}
    named = ", ".join(sorted(found)[:_NAMED_LABELS])
    if positive is not None and positive not in found:
        message = f"--positive {quoted(positive)} is no label of {truth.path}, which has {named}"
        raise InvalidRequestError(message)
    if positive is not None or len(found) != 2:
        message = (
            f"a submission with one column needs a truth with 0 and 1 or with two "
            f"labels, {truth.path} has {len(found)} ({named}): name one with --positive"
        )
        raise InvalidRequestError(message)
    return {label: number for number, label in enumerate(sorted(found))}


def _is_plain(path: Path) -> bool:
    with path.open(encoding="utf-8-sig", newline="") as stream:
        header = next(csv.reader(stream), [])
    return all(name and name == name.strip() for name in header)

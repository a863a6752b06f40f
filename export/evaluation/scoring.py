"""Kaggle's log loss of a submission, offline."""

from __future__ import annotations

import csv
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequestError
from models.probabilities import accuracy, log_loss


@dataclass(frozen=True)
class Score:
    """How a submission does against the truth."""

    images: int
    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class _Table:
    path: Path
    columns: tuple[str, ...]
    rows: dict[str, list[str]]


def score_submission(submission: Path, truth: Path) -> Score:
    """Score *submission* against *truth*, both CSV files with the same ids.

    One value column is P(positive class), and the truth holds 0 or 1. Several columns
    are one probability a class, and the truth names the column of each row.

    Raises:
        InvalidRequestError: a file cannot be read, ids differ, or a value is no
            probability; the message names the first one.
    """
    submitted, true = _read(submission), _read(truth)
    _check_ids(submitted, true)
    ids = list(true.rows)
    values = np.array([_probabilities(submitted, each) for each in ids])
    names = submitted.columns
    if len(names) == 1:
        values = np.concatenate([1 - values, values], axis=1)
        names = ("0", "1")
    classes = np.array([_class_number(true, each, names) for each in ids])
    return Score(len(ids), log_loss(values, classes), accuracy(values, classes))


def _read(path: Path) -> _Table:
    try:
        with path.open(newline="", encoding="utf-8") as stream:
            lines = list(csv.reader(stream))
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise InvalidRequestError(f"{path} cannot be read as CSV: {error}") from error
    if len(lines) < 2 or len(lines[0]) < 2:
        message = f"{path} needs a header with an id column, values, and rows"
        raise InvalidRequestError(message)
    rows: dict[str, list[str]] = {}
    for number, line in enumerate(lines[1:], start=2):
        if len(line) != len(lines[0]):
            message = f"{path} line {number} has {len(line)} fields: {','.join(line)!r}"
            raise InvalidRequestError(message)
        if line[0] in rows:
            raise InvalidRequestError(f"{path} line {number}: id {line[0]!r} again")
        rows[line[0]] = line[1:]
    return _Table(path, tuple(lines[0][1:]), rows)


def _check_ids(submitted: _Table, true: _Table) -> None:
    missing = sorted(set(true.rows) - set(submitted.rows))
    extra = sorted(set(submitted.rows) - set(true.rows))
    for kind, ids in (("lacks", missing), ("has unknown", extra)):
        if ids:
            message = f"{submitted.path} {kind} {len(ids)} ids, the first is {ids[0]!r}"
            raise InvalidRequestError(message)


def _probabilities(table: _Table, identifier: str) -> NDArray[Any]:
    try:
        values = np.array([float(text) for text in table.rows[identifier]])
    except ValueError as error:
        message = f"{table.path} id {identifier!r}: {error}"
        raise InvalidRequestError(message) from error
    all_zero = len(values) > 1 and values.sum() == 0
    if all_zero or not ((values >= 0) & (values <= 1)).all():
        message = f"{table.path} id {identifier!r}: {values} are no probabilities"
        raise InvalidRequestError(message)
    return values


def _class_number(table: _Table, identifier: str, names: Sequence[str]) -> int:
    name = table.rows[identifier][0]
    if name not in names:
        message = f"{table.path} id {identifier!r}: {name!r} is none of {names}"
        raise InvalidRequestError(message)
    return names.index(name)

"""Brings a submission and the truth together: the same ids, in the truth's order."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.submissions.table import SubmissionTable
from export.submissions.truth import Truth
from models.errors import InvalidRequestError, quoted
from models.text import nearest_name, normal_name

_ONES: Final = ({"0": 0, "1": 1}, {"0.0": 0, "1.0": 1})
_NAMED_LABELS: Final = 10


@dataclass(frozen=True)
class Matched:
    """Probabilities and true labels of the images that count.

    Attributes:
        positive: whose probability a single column was taken for; None: it has several.
        labels: of the columns of *probabilities*.
        probabilities: [N, K], as submitted.
        classes: [N] the true label of each image.
    """

    positive: str | None
    ids: tuple[str, ...]
    labels: tuple[str, ...]
    probabilities: NDArray[np.float64]
    classes: NDArray[np.int64]


def match(submitted: SubmissionTable, truth: Truth, positive: str | None) -> Matched:
    """The images of *truth* that count, with what *submitted* says of them.

    *positive* is the label whose probability a single column holds; None: the label 1,
    or the last of two names in alphabetical order.

    Raises:
        InvalidRequestError: the ids or the labels differ; the message names them.
    """
    check_ids(submitted.path, submitted.rows, truth.path, truth.rows)
    labels, classes = _classes(submitted, truth, positive)
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
        raise InvalidRequestError(f"{truth.path} says of every row to ignore it")
    return Matched(positive, tuple(ids), labels, values, classes)


def check_ids(
    path: Path, given: Iterable[str], other: Path, wanted: Iterable[str]
) -> None:
    """Accept *path*, whose ids are *given*, if they are the *wanted* ones of *other*.

    Raises:
        InvalidRequestError: they are not; the message names the first.
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


def _classes(
    submitted: SubmissionTable, truth: Truth, positive: str | None
) -> tuple[tuple[str, ...], NDArray[np.int64]]:
    if len(submitted.columns) > 1:
        labels = submitted.columns
        numbers = {name: number for number, name in enumerate(labels)}
    else:
        numbers = _binary(truth, positive)
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


def _binary(truth: Truth, positive: str | None) -> dict[str, int]:
    found = set(truth.labels)
    positive = None if positive is None else normal_name(positive)
    for ones in _ONES:
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

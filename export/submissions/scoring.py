"""Kaggle's log loss of a submission, offline, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
from numpy.typing import NDArray

from export.submissions.hindsight import (
    Hindsight,
    MixedUp,
    best_clip,
    find_mixed_up,
    finds_more,
)
from export.submissions.matching import Matched, check_ids, match
from export.submissions.offenders import Offender, worst_offenders
from export.submissions.records import open_records
from export.submissions.table import read_submission
from export.submissions.truth import read_truth
from models.errors import InvalidRequestError, quoted_names
from models.probabilities import accuracy, log_losses
from models.text import whole_number

WORST: Final = 10


@dataclass(frozen=True)
class Recall:
    """Of the images of one label, the share that the submission finds; None: no image."""

    label: str
    images: int
    recall: float | None


@dataclass(frozen=True)
class Score:
    """How a submission does against the truth.

    Attributes:
        images: those that count.
        positive: whose probability a single column was taken for; None: it has several.
        accuracy: share of images whose largest probability is at the true label.
        recalls: of each label, in the order of the columns.
        worst: the images that cost most, the worst first.
        hindsight: the clip bound that would have been best.
        mixed_up: what the columns seem to hold instead of what they say; None: no sign.
    """

    images: int
    positive: str | None
    log_loss: float
    accuracy: float
    recalls: tuple[Recall, ...]
    worst: tuple[Offender, ...]
    hindsight: Hindsight
    mixed_up: MixedUp | None


@dataclass(frozen=True)
class RenamedLabels:
    """Labels that seem to be called otherwise in the submission than in the truth.

    Attributes:
        names: what the submission says and what that stands for, where they differ.
        accuracy: the score if they do.
    """

    names: tuple[tuple[str, str], ...]
    accuracy: float


@dataclass(frozen=True)
class LabelScore:
    """How a submission of labels does, which has no log loss; as in `Score`."""

    images: int
    accuracy: float
    recalls: tuple[Recall, ...]
    renamed: RenamedLabels | None


def score_submission(
    submission: Path, truth: Path, positive: str | None = None, worst: int = WORST
) -> Score:
    """Score *submission* against *truth*, both CSV files with the same ids.

    By Kaggle's rules: a row's probabilities are divided by their sum, then moved 1e-15
    away from 0 and 1; the score is the mean of -ln(probability of the true label). One
    column is the probability of *positive*: see `match`.

    Raises:
        InvalidRequestError: a file cannot be read, ids or labels differ, or a value is
            no probability; the message names the line or the id.
    """
    submitted = read_submission(submission)
    matched = match(submitted, read_truth(truth), positive)
    losses = log_losses(matched.probabilities, matched.classes)
    return Score(
        images=len(matched.ids),
        positive=matched.positive,
        log_loss=float(losses.mean()),
        accuracy=accuracy(matched.probabilities, matched.classes),
        recalls=_recalls(matched),
        worst=worst_offenders(matched, losses, worst),
        hindsight=best_clip(matched.probabilities, matched.classes),
        mixed_up=find_mixed_up(matched.labels, matched.probabilities, matched.classes),
    )


def score_labels(submission: Path, truth: Path) -> LabelScore | None:
    """Score a *submission* that has an id and a label in each row, as *truth* has.

    None: it has probabilities, as the first row tells: the number of a label is whole,
    and of more than two. Numbers may be written as floats: 2.0 is 2.

    Raises:
        InvalidRequestError: a file cannot be read, ids differ, or *truth* has none of
            the labels.
    """
    true = read_truth(truth)
    records = open_records(submission)
    _, first = next(records.rows, (0, ["", "0"]))
    is_whole = whole_number(first[1].strip()).isdecimal() and len(true.labels) > 2
    if len(records.header) != 2 or (_is_number(first[1]) and not is_whole):
        return None
    given = read_truth(submission)
    check_ids(submission, given.rows, truth, true.rows)
    said_labels, asked_labels = (
        [whole_number(label) for label in each.labels] for each in (given, true)
    )
    if not set(said_labels) & set(asked_labels):
        message = (
            f"{submission} has the labels {quoted_names(given.labels)}, {truth} has "
            f"{quoted_names(true.labels)}: call them the same in both (the submission "
            "comes first, then the truth)"
        )
        raise InvalidRequestError(message)
    rows = [given.rows[each] for each in true.rows]
    said = np.array(said_labels)[given.numbers][rows][true.scored]
    asked = np.array(asked_labels)[true.numbers][true.scored]
    if not len(asked):
        raise InvalidRequestError(f"{truth} says of every row to ignore it")
    hits = said == asked
    return LabelScore(
        len(hits),
        float(hits.mean()),
        tuple(
            Recall(label, int(mine.sum()), float(hits[mine].mean()))
            for label in sorted(set(asked.tolist()))
            if (mine := asked == label).any()
        ),
        _find_renamed(said, asked),
    )


def _find_renamed(
    said: NDArray[np.str_], asked: NDArray[np.str_]
) -> RenamedLabels | None:
    """Other names for what is *said* that fit what is *asked* far better; None: none."""
    names = {}
    for label in np.unique(said).tolist():
        found, counts = np.unique(asked[said == label], return_counts=True)
        names[label] = str(found[counts.argmax()])
    if len(names) < 2 or len(set(names.values())) < len(names):
        return None
    meant = np.array([names[label] for label in said.tolist()])
    if not finds_more(meant == asked, said == asked):
        return None
    moved = tuple(pair for pair in names.items() if pair[0] != pair[1])
    return RenamedLabels(moved, float((meant == asked).mean()))


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True


def _recalls(matched: Matched) -> tuple[Recall, ...]:
    found = matched.probabilities.argmax(axis=1) == matched.classes
    images = np.bincount(matched.classes, minlength=len(matched.labels))
    hits = np.bincount(matched.classes[found], minlength=len(matched.labels))
    return tuple(
        Recall(label, count, hit / count if count else None)
        for label, count, hit in zip(
            matched.labels, images.tolist(), hits.tolist(), strict=True
        )
    )

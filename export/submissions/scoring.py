"""Kaggle's log loss of a submission, offline, and what it is made of."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np

from export.submissions.hindsight import Hindsight, MixedUp, best_clip, find_mixed_up
from export.submissions.matching import Matched, match
from export.submissions.offenders import Offender, worst_offenders
from export.submissions.table import read_submission
from export.submissions.truth import read_truth
from models.probabilities import accuracy, log_losses

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
        accuracy: share of images whose largest probability is at the true label.
        recalls: of each label, in the order of the columns.
        worst: the images that cost most, the worst first.
        hindsight: the clip bound that would have been best.
        mixed_up: what the columns seem to hold instead of what they say; None: no sign.
        single_column: whether the submission has one column of probabilities.
    """

    images: int
    log_loss: float
    accuracy: float
    recalls: tuple[Recall, ...]
    worst: tuple[Offender, ...]
    hindsight: Hindsight
    mixed_up: MixedUp | None
    single_column: bool


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
        log_loss=float(losses.mean()),
        accuracy=accuracy(matched.probabilities, matched.classes),
        recalls=_recalls(matched),
        worst=worst_offenders(matched, losses, worst),
        hindsight=best_clip(matched.probabilities, matched.classes),
        mixed_up=find_mixed_up(matched.labels, matched.probabilities, matched.classes),
        single_column=len(submitted.columns) == 1,
    )


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

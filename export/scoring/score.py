"""Score of a submission by Kaggle's rules, the images that cost most, and hindsight.

The best clip bound in hindsight says how much confident mistakes cost, not what the next
submission should use: that is the bound that export chooses on validation photos.
Columns that fit other labels than their own are a mistake in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.scoring.csv_files import (
    Matched,
    check_ids,
    match,
    open_records,
    read_submission,
    read_truth,
)
from models.errors import InvalidRequestError, quoted_names
from models.probabilities import KAGGLE_EPSILON, accuracy, clip, log_losses
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
    worst: tuple[WorstImage, ...]
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
        worst=worst_images(matched, losses, worst),
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


@dataclass(frozen=True)
class WorstImage:
    """One image and what it costs.

    Attributes:
        label: the true one.
        predicted: the likeliest one.
        probability: what the submission gives the true label, of the row's sum.
        loss: -ln(probability), within Kaggle's 1e-15.
        share: of the sum of all images' losses.
    """

    id: str
    label: str
    predicted: str
    probability: float
    loss: float
    share: float


def worst_images(
    matched: Matched, losses: NDArray[Any], count: int
) -> tuple[WorstImage, ...]:
    """The *count* images with the highest of *losses*, the worst first.

    Of equal ones those that come first in the truth.
    """
    total = float(losses.sum()) or 1.0
    rows = np.argsort(-losses, kind="stable")[:count]
    return tuple(
        _worst_image(matched, int(row), float(losses[row]), total) for row in rows
    )


def _worst_image(matched: Matched, row: int, loss: float, total: float) -> WorstImage:
    values, number = matched.probabilities[row], int(matched.classes[row])
    return WorstImage(
        id=matched.ids[row],
        label=matched.labels[number],
        predicted=matched.labels[int(values.argmax())],
        probability=float(values[number] / values.sum()),
        loss=loss,
        share=loss / total,
    )


HINDSIGHT_BOUNDS: Final = (
    *(
        0.3,
        0.4,
        0.5,
        0.6,
        0.7,
        0.75,
        0.8,
        0.85,
        0.9,
        0.92,
        0.94,
        0.95,
        0.96,
        0.97,
        0.98,
    ),
    *(0.985, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999),
)
"""Candidate upper bounds; those that are no tighter than the file change nothing."""

_SURE: Final = 2.5
"""Standard deviations by which chance would have to err: then columns are called mixed up."""

_CHUNK_ROWS: Final = 65_536


@dataclass(frozen=True)
class Hindsight:
    """The best of `HINDSIGHT_BOUNDS`, and the score with it; None: the file as it is."""

    clip: float | None
    log_loss: float


@dataclass(frozen=True)
class MixedUp:
    """Columns that seem to hold other labels' probabilities.

    Attributes:
        labels: what each column seems to hold, in the order of the columns.
        log_loss: the score if they do.
        accuracy: the same.
    """

    labels: tuple[str, ...]
    log_loss: float
    accuracy: float


def find_mixed_up(
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    classes: NDArray[np.int64],
) -> MixedUp | None:
    """The order of *labels* that fits the columns of *probabilities* [N, K] far better.

    None: theirs does, or the difference may be chance. Of two labels, the other order
    is tried. Of more, each gets the column that is the least loss for its images
    (*classes* [N]); labels without images keep theirs.
    """
    binary = len(labels) == 2
    columns = [1, 0] if binary else _least_losses(probabilities, classes)
    if len(set(columns)) < len(labels):
        return None
    mixed = probabilities[:, columns]
    loss = float(log_losses(mixed, classes).mean())
    clearly = (
        _ranks_backwards(probabilities[:, 1], classes)
        if binary
        else finds_more(
            *(each.argmax(axis=1) == classes for each in (mixed, probabilities))
        )
    )
    if not clearly or loss >= log_losses(probabilities, classes).mean():
        return None
    order = tuple(labels[number] for number in np.argsort(columns))
    return MixedUp(order, loss, accuracy(mixed, classes))


def _least_losses(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64]
) -> list[int]:
    columns = list(range(probabilities.shape[1]))
    for label in np.unique(classes):
        rows = probabilities[classes == label]
        shares = np.clip(rows / rows.sum(axis=1, keepdims=True), KAGGLE_EPSILON, 1)
        columns[label] = int(np.log(shares).mean(axis=0).argmax())
    return columns


def _ranks_backwards(scores: NDArray[np.float64], classes: NDArray[np.int64]) -> bool:
    """Whether images of class 1 have clearly lower *scores* than those of class 0.

    By the area under the ROC curve, as the rank sum test has it (Mann and Whitney 1947).
    """
    ones, zeros = int(classes.sum()), int((classes == 0).sum())
    if not ones or not zeros:
        return False
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    area = (ranks[classes == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    deviation = ((ones + zeros + 1) / (12 * ones * zeros)) ** 0.5
    return bool(0.5 - area > _SURE * deviation)


def finds_more(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> bool:
    """Whether there are clearly more hits in *after*, [N] as *before* (McNemar 1947)."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return bool(won - lost > _SURE * (won + lost) ** 0.5)


def best_clip(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64]
) -> Hindsight:
    """The bound that gives *probabilities* [N, K] the least log loss for *classes*."""
    highest, least = probabilities.max(), 1 / probabilities.shape[1]
    bounds = [None, *(each for each in HINDSIGHT_BOUNDS if least < each < highest)]
    sums = np.zeros(len(bounds))
    for start in range(0, len(classes), _CHUNK_ROWS):
        chunk = slice(start, start + _CHUNK_ROWS)
        sums += _sums(probabilities[chunk], classes[chunk], bounds)
    best = int(sums.argmin())
    return Hindsight(bounds[best], float(sums[best] / len(classes)))


def _sums(
    probabilities: NDArray[Any], classes: NDArray[Any], bounds: list[float | None]
) -> NDArray[np.float64]:
    return np.array(
        [log_losses(clip(probabilities, each), classes).sum() for each in bounds]
    )

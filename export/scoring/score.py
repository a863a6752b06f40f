"""Score of a submission by Kaggle's rules: log loss, worst images, better clip bound or labels.

The best clip bound in hindsight shows how much confident mistakes cost. The next
submission should not use it, but the bound that export chose on validation photos.
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
    MatchedImages,
    Truth,
    check_ids,
    match_truth,
    open_records,
    read_submission,
    read_truth,
)
from models.errors import InvalidRequestError, quoted_names
from models.probabilities import KAGGLE_EPSILON, accuracy, clip, log_losses
from models.text import whole_number

WORST_IMAGES: Final = 10
HINDSIGHT_BOUNDS: Final = (
    *(0.3, 0.4, 0.5, 0.6, 0.7, 0.75, 0.8, 0.85, 0.9, 0.92, 0.94, 0.95, 0.96, 0.97),
    *(0.98, 0.985, 0.99, 0.995, 0.998, 0.999, 0.9995, 0.9999, 0.99999),
)
"""Candidate upper bounds for `Hindsight`."""

_SURE: Final = 2.5
"""Standard deviations from chance at which columns or labels are reported as mixed up."""

_CHUNK_ROWS: Final = 65_536


@dataclass(frozen=True)
class Recall:
    """The share of one label's images that the submission finds; None: no images."""

    label: str
    images: int
    recall: float | None


@dataclass(frozen=True)
class WorstImage:
    """An image with a high loss.

    Attributes:
        label: the true label.
        predicted: the most probable label.
        probability: of the true label, divided by the row's sum.
        loss: -ln(probability), within Kaggle's 1e-15.
        share: of the sum of all images' losses.
    """

    id: str
    label: str
    predicted: str
    probability: float
    loss: float
    share: float


@dataclass(frozen=True)
class Hindsight:
    """The clip bound that would have scored best, and its score; None: no clipping."""

    clip: float | None
    log_loss: float


@dataclass(frozen=True)
class MixedUp:
    """Columns that seem to hold other labels' probabilities.

    Attributes:
        labels: the label that each column seems to hold, in the order of the columns.
        log_loss: the score with these labels.
        accuracy: the accuracy with these labels.
    """

    labels: tuple[str, ...]
    log_loss: float
    accuracy: float


@dataclass(frozen=True)
class Score:
    """Score of a submission of probabilities.

    Attributes:
        images: number of images that count.
        positive: the label whose probability a single column holds; None: several columns.
        accuracy: share of images whose largest probability is at the true label.
        recalls: of each label, in the order of the columns.
        worst: the images with the highest loss, the worst first.
        hindsight: the clip bound that would have scored best.
        mixed_up: labels that the columns seem to hold instead; None: no sign of it.
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
    """Labels that seem to have other names in the submission than in the truth.

    Attributes:
        names: pairs of the submission's name and the truth's, where they differ.
        accuracy: the accuracy with the truth's names.
    """

    names: tuple[tuple[str, str], ...]
    accuracy: float


@dataclass(frozen=True)
class LabelScore:
    """Score of a submission of labels, which has no log loss; see `Score`."""

    images: int
    accuracy: float
    recalls: tuple[Recall, ...]
    renamed: RenamedLabels | None


def score_submission(
    submission: Path,
    truth: Path,
    positive: str | None = None,
    worst: int = WORST_IMAGES,
) -> Score:
    """Score *submission* against *truth*, both CSV files with the same ids.

    By Kaggle's rules: a row's probabilities are divided by their sum, then moved 1e-15
    away from 0 and 1; the score is the mean of -ln(probability of the true label). One
    column is the probability of *positive*: see `match_truth`.

    Raises:
        InvalidRequestError: a file cannot be read, ids or labels differ, or a value is
            no probability; the message names the line or the id.
    """
    submitted = read_submission(submission)
    matched = match_truth(submitted, read_truth(truth), positive)
    losses = log_losses(matched.probabilities, matched.classes)
    return Score(
        images=len(matched.ids),
        positive=matched.positive,
        log_loss=float(losses.mean()),
        accuracy=accuracy(matched.probabilities, matched.classes),
        recalls=_recalls(matched),
        worst=_worst_images(matched, losses, worst),
        hindsight=_best_clip(matched.probabilities, matched.classes),
        mixed_up=_find_mixed_up(matched.labels, matched.probabilities, matched.classes),
    )


def score_labels(submission: Path, truth: Path) -> LabelScore | None:
    """Score a *submission* that has an id and a label in each row, like *truth*.

    None: it has probabilities. The first row decides: the number of a label is whole, and
    there are more than two labels. Numbers may be written as floats: 2.0 is 2.

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
    submitted, expected = _label_pairs(given, true)
    hits = submitted == expected
    recalls = [
        Recall(label, int(mine.sum()), float(hits[mine].mean()))
        for label in np.unique(expected).tolist()
        for mine in [expected == label]
    ]
    renamed = _find_renamed(submitted, expected)
    return LabelScore(len(hits), float(hits.mean()), tuple(recalls), renamed)


def _label_pairs(
    given: Truth, true: Truth
) -> tuple[NDArray[np.str_], NDArray[np.str_]]:
    """The label in the submission and the true one of each image that counts."""
    given_labels, true_labels = (
        [whole_number(label) for label in each.labels] for each in (given, true)
    )
    if not set(given_labels) & set(true_labels):
        message = (
            f"{given.path} has the labels {quoted_names(given.labels)}, {true.path} has "
            f"{quoted_names(true.labels)}: call them the same in both (the submission "
            "comes first, then the truth)"
        )
        raise InvalidRequestError(message)
    rows = [given.rows[each] for each in true.rows]
    submitted = np.array(given_labels)[given.numbers][rows][true.scored]
    expected = np.array(true_labels)[true.numbers][true.scored]
    if not len(expected):
        raise InvalidRequestError(f"every row of {true.path} is marked 'ignored'")
    return submitted, expected


def _recalls(matched: MatchedImages) -> tuple[Recall, ...]:
    found = matched.probabilities.argmax(axis=1) == matched.classes
    images = np.bincount(matched.classes, minlength=len(matched.labels))
    hits = np.bincount(matched.classes[found], minlength=len(matched.labels))
    return tuple(
        Recall(label, count, hit / count if count else None)
        for label, count, hit in zip(
            matched.labels, images.tolist(), hits.tolist(), strict=True
        )
    )


def _worst_images(
    matched: MatchedImages, losses: NDArray[Any], count: int
) -> tuple[WorstImage, ...]:
    """The *count* images with the highest *losses*, the worst first, ties in order."""
    total = float(losses.sum()) or 1.0
    rows = np.argsort(-losses, kind="stable")[:count]
    return tuple(
        _worst_image(matched, int(row), float(losses[row]), total) for row in rows
    )


def _worst_image(
    matched: MatchedImages, row: int, loss: float, total: float
) -> WorstImage:
    values, number = matched.probabilities[row], int(matched.classes[row])
    return WorstImage(
        id=matched.ids[row],
        label=matched.labels[number],
        predicted=matched.labels[int(values.argmax())],
        probability=float(values[number] / values.sum()),
        loss=loss,
        share=loss / total,
    )


def _best_clip(
    probabilities: NDArray[np.float64], classes: NDArray[np.int64]
) -> Hindsight:
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


def _find_mixed_up(
    labels: Sequence[str],
    probabilities: NDArray[np.float64],
    classes: NDArray[np.int64],
) -> MixedUp | None:
    """Another order of *labels* that fits the columns of *probabilities* far better.

    None: their own order fits, or the difference may be chance. For two labels the other
    order is tried. For more, each label gets the column with the least loss for its
    images; labels without images keep theirs.
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
        else _hits_clearly_more(
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

    By the area under the ROC curve and the rank sum test (Mann and Whitney 1947).
    """
    ones, zeros = int(classes.sum()), int((classes == 0).sum())
    if not ones or not zeros:
        return False
    _, places, counts = np.unique(scores, return_inverse=True, return_counts=True)
    ranks = (counts.cumsum() - (counts - 1) / 2)[places]
    area = (ranks[classes == 1].sum() - ones * (ones + 1) / 2) / (ones * zeros)
    deviation = ((ones + zeros + 1) / (12 * ones * zeros)) ** 0.5
    return bool(0.5 - area > _SURE * deviation)


def _find_renamed(
    submitted: NDArray[np.str_], expected: NDArray[np.str_]
) -> RenamedLabels | None:
    """Other names for the *submitted* labels that fit the *expected* far better, if any."""
    names = {}
    for label in np.unique(submitted).tolist():
        found, counts = np.unique(expected[submitted == label], return_counts=True)
        names[label] = str(found[counts.argmax()])
    if len(names) < 2 or len(set(names.values())) < len(names):
        return None
    meant = np.array([names[label] for label in submitted.tolist()])
    if not _hits_clearly_more(meant == expected, submitted == expected):
        return None
    moved = tuple(pair for pair in names.items() if pair[0] != pair[1])
    return RenamedLabels(moved, float((meant == expected).mean()))


def _hits_clearly_more(after: NDArray[np.bool_], before: NDArray[np.bool_]) -> bool:
    """Whether *after* has clearly more hits than *before*, both [N] (McNemar 1947)."""
    won, lost = int((after & ~before).sum()), int((before & ~after).sum())
    return bool(won - lost > _SURE * (won + lost) ** 0.5)


def _is_number(field: str) -> bool:
    try:
        float(field.replace(",", "."))
    except ValueError:
        return False
    return True

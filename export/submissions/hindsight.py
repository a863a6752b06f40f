"""What would have scored better, known only afterwards, from the truth itself.

The best clip bound says how much confident mistakes cost, not what the next submission
should use: that is the bound that export chooses on validation photos. Columns that fit
other labels than their own are a mistake in the file.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.probabilities import KAGGLE_EPSILON, accuracy, clip, log_losses

BOUNDS: Final = (
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
    """The best of `BOUNDS`, and the score with it; None: the file as it is."""

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
    bounds = [None, *(each for each in BOUNDS if least < each < highest)]
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

"""The images that cost a submission most: a few of them can be half of its log loss."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.submissions.matching import Matched


@dataclass(frozen=True)
class Offender:
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


def worst_offenders(
    matched: Matched, losses: NDArray[Any], count: int
) -> tuple[Offender, ...]:
    """The *count* images with the highest of *losses*, the worst first.

    Of equal ones those that come first in the truth.
    """
    total = float(losses.sum()) or 1.0
    rows = np.argsort(-losses, kind="stable")[:count]
    return tuple(
        _offender(matched, int(row), float(losses[row]), total) for row in rows
    )


def _offender(matched: Matched, row: int, loss: float, total: float) -> Offender:
    values, number = matched.probabilities[row], int(matched.classes[row])
    return Offender(
        id=matched.ids[row],
        label=matched.labels[number],
        predicted=matched.labels[int(values.argmax())],
        probability=float(values[number] / values.sum()),
        loss=loss,
        share=loss / total,
    )

"""How good the probabilities are, in the figures that people compare."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.evaluation.calibration import Calibration
from export.evaluation.clipping import FIXED_BOUND
from export.evaluation.reliability import expected_calibration_error
from models.probabilities import accuracy, clip, log_loss, softmax


@dataclass(frozen=True)
class ClassMetrics:
    """How well one label is found.

    Attributes:
        precision: share of photos called so that are so, 0 if none is called so.
        recall: share of photos that are so and called so, 0 if there are none.
        f1: harmonic mean of the two.
        support: photos that are so.
    """

    label: str
    precision: float
    recall: float
    f1: float
    support: int


def evaluate_logits(
    logits: NDArray[Any],
    classes: NDArray[np.int64],
    calibration: Calibration,
    labels: Sequence[str] | None = None,
) -> dict[str, Any]:
    """Every figure of *logits* [N, K] as JSON: raw, calibrated and clipped.

    "raw" is the softmax before the temperature, "calibrated" after it and unclipped,
    "clipped" at the chosen bound and "fixed" at 0.95. The log losses are Kaggle's.
    Without *labels*, classes go by their number. Macro F1 is the mean over the classes
    that have photos.
    """
    raw = softmax(logits)
    calibrated = softmax(logits, calibration.temperature)
    clipped = clip(calibrated, calibration.clip_bound)
    names = labels or [str(number) for number in range(raw.shape[1])]
    found = per_class(calibrated, classes, names)
    return {
        "images": len(classes),
        "accuracy": accuracy(calibrated, classes),
        "log_loss_raw": log_loss(raw, classes),
        "log_loss_calibrated": log_loss(calibrated, classes),
        "log_loss_clipped": log_loss(clipped, classes),
        "log_loss_fixed": log_loss(clip(calibrated, FIXED_BOUND), classes),
        "calibration_error_raw": expected_calibration_error(raw, classes),
        "calibration_error_calibrated": expected_calibration_error(calibrated, classes),
        "macro_f1": float(np.mean([each.f1 for each in found if each.support])),
        "per_class": [asdict(each) for each in found],
        "confusion_matrix": confusion_matrix(calibrated, classes),
    }


def per_class(
    probabilities: NDArray[Any], classes: NDArray[np.integer], labels: Sequence[str]
) -> tuple[ClassMetrics, ...]:
    """Precision, recall and F1 of every label, in their order."""
    counts = np.array(confusion_matrix(probabilities, classes))
    right, called, true = np.diag(counts), counts.sum(axis=0), counts.sum(axis=1)
    return tuple(
        ClassMetrics(
            label,
            precision=float(right[each] / max(called[each], 1)),
            recall=float(right[each] / max(true[each], 1)),
            f1=float(2 * right[each] / max(called[each] + true[each], 1)),
            support=int(true[each]),
        )
        for each, label in enumerate(labels)
    )


def confusion_matrix(
    probabilities: NDArray[Any], classes: NDArray[np.integer]
) -> list[list[int]]:
    """Counts: a row for each true class, a column for each predicted one."""
    size = probabilities.shape[1]
    counts = np.zeros((size, size), dtype=np.int64)
    np.add.at(counts, (classes, probabilities.argmax(axis=1)), 1)
    return [[int(count) for count in row] for row in counts]


def format_confusion(matrix: Sequence[Sequence[int]], labels: Sequence[str]) -> str:
    """The matrix as text; rows are the truth."""
    width = max(8, *(len(label) for label in labels)) + 2
    header = " " * width + "".join(label.rjust(width) for label in labels)
    rows = [
        label.ljust(width) + "".join(str(count).rjust(width) for count in row)
        for label, row in zip(labels, matrix, strict=True)
    ]
    return "\n".join(["truth \\ predicted", header, *rows])

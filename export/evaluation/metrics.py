"""How good the probabilities are, in the figures that people compare."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.evaluation.calibration import Calibration
from models.probabilities import accuracy, clip, log_loss, softmax


def evaluate_logits(
    logits: NDArray[Any], classes: NDArray[np.int64], calibration: Calibration
) -> dict[str, Any]:
    """Accuracy, confusion matrix and log loss: raw, calibrated and clipped.

    *logits* [N, K]; "raw" is the softmax before the temperature.
    """
    calibrated = softmax(logits, calibration.temperature)
    clipped = clip(calibrated, calibration.clip_bound)
    return {
        "images": len(classes),
        "accuracy": accuracy(calibrated, classes),
        "log_loss_raw": log_loss(softmax(logits), classes),
        "log_loss_calibrated": log_loss(calibrated, classes),
        "log_loss_clipped": log_loss(clipped, classes),
        "confusion_matrix": confusion_matrix(calibrated, classes),
    }


def confusion_matrix(
    probabilities: NDArray[Any], classes: NDArray[np.int64]
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

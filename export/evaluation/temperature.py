"""The temperature that makes probabilities mean what they say.

Guo et al. 2017, "On calibration of modern neural networks", arXiv:1706.04599: logits
are divided by one number, so no prediction changes, only its confidence.
"""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError

LOWEST: Final = 0.05
HIGHEST: Final = 20.0

PRIOR_DEVIATION: Final = 0.5
"""Of ln(temperature) around 0, before any photo is seen.

Without a prior, ten photos that are all right ask for a temperature of zero. Over
simulated models 0.5 lost least on new photos after ten to 200 validation photos; after
2,000 the prior hardly matters.
"""

_STEPS: Final = 17
"""Odd, and the range is symmetric, so that a temperature of 1 is among them."""


def fit_temperature(logits: NDArray[Any], classes: NDArray[np.integer]) -> float:
    """The most probable temperature, given *logits* [N, K]; 1 for no photos.

    Three grids, each around the best of the one before: one parameter needs no
    optimizer, and a grid cannot diverge.
    """
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True, initial=-np.inf)
    low, high = np.log(LOWEST), np.log(HIGHEST)
    for _ in range(3):
        candidates = np.linspace(low, high, _STEPS)
        losses = [_loss(shifted, classes, each) for each in candidates]
        best, step = candidates[int(np.argmin(losses))], candidates[1] - candidates[0]
        low, high = max(low, best - step), min(high, best + step)
    return float(np.exp(best))


def check_logits(logits: NDArray[Any]) -> None:
    """Accept *logits* [N, K] that are all finite, N > 0.

    Raises:
        DatasetError: there are none, or some are NaN or infinite; it says how many.
    """
    if not len(logits):
        raise DatasetError("no validation photos: calibration needs at least one")
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        message = (
            f"{broken} of {len(logits)} validation photos have NaN or infinite logits: "
            "train again with a smaller --learning-rate"
        )
        raise DatasetError(message)


def _loss(
    shifted: NDArray[np.float64], classes: NDArray[np.integer], logarithm: float
) -> float:
    scaled = shifted / np.exp(logarithm)
    chosen = scaled[np.arange(len(classes)), classes]
    total = float((np.log(np.exp(scaled).sum(axis=1)) - chosen).sum())
    return total + float(logarithm**2) / (2 * PRIOR_DEVIATION**2)

"""Two numbers fitted on validation data: the temperature and the clip bound."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.probabilities import clip, log_loss, softmax

TEMPERATURES: Final = np.geomspace(0.2, 10, 400)
"""Candidates; one parameter needs no optimizer, and a grid cannot diverge."""

BOUNDS: Final = 1 - np.geomspace(0.2, 1e-5, 120)
"""Candidate upper bounds, 0.8 to 0.99999."""

UNSEEN_MISTAKES: Final = 0.1


@dataclass(frozen=True)
class Calibration:
    """What export puts into the graph (temperature) and the card (clip bound)."""

    temperature: float
    clip_bound: float | None
    clip_choice: str


def calibrate(logits: NDArray[Any], classes: NDArray[np.int64]) -> Calibration:
    """Fit the temperature, then the clip bound, on validation *logits* [N, K]."""
    temperature = fit_temperature(logits, classes)
    bound, choice = choose_clip_bound(softmax(logits, temperature), classes)
    return Calibration(temperature, bound, choice)


def fit_temperature(logits: NDArray[Any], classes: NDArray[np.int64]) -> float:
    """The temperature with the least log loss (Guo et al. 2017, arXiv:1706.04599)."""
    losses = [log_loss(softmax(logits, each), classes) for each in TEMPERATURES]
    return float(TEMPERATURES[int(np.argmin(losses))])


def choose_clip_bound(
    probabilities: NDArray[Any], classes: NDArray[np.int64]
) -> tuple[float | None, str]:
    """The bound with the least log loss expected on new photos, and why.

    A small validation set may just lack the confident mistake that costs most, so a
    tenth of one is added to it: see `expected_loss`.
    """
    classes_count = probabilities.shape[1]
    candidates = BOUNDS[1 / classes_count < BOUNDS]
    losses = [expected_loss(probabilities, classes, bound) for bound in candidates]
    best = float(candidates[int(np.argmin(losses))])
    unclipped = log_loss(probabilities, classes)
    clipped = log_loss(clip(probabilities, best), classes, normalise=False)
    choice = (
        f"least expected log loss on {len(classes)} validation photos: "
        f"{clipped:.4f} clipped, {unclipped:.4f} unclipped"
    )
    return round(best, 5), choice


def expected_loss(
    probabilities: NDArray[Any], classes: NDArray[np.int64], bound: float
) -> float:
    """Log loss of the clipped rows and of the mistakes at full confidence not seen yet.

    With N photos and M unseen mistakes: (N * observed - M * ln(floor)) / (N + M). M
    keeps the bound off 1 when there were no mistakes; a whole one (Laplace's rule of
    succession) would clip well calibrated rows for nothing.
    """
    clipped = clip(probabilities, bound)
    floor = (1 - bound) / (probabilities.shape[1] - 1)
    observed = log_loss(clipped, classes, normalise=False)
    count = len(classes)
    unseen = -UNSEEN_MISTAKES * float(np.log(floor))
    return (observed * count + unseen) / (count + UNSEEN_MISTAKES)

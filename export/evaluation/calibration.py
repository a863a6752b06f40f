"""Two numbers fitted on validation photos: the temperature and the clip bound.

Both are judged by cross-validation, on photos that they were not fitted to.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.evaluation.clipping import FIXED_BOUND, choose_clip_bound
from export.evaluation.folds import FOLDS, hold_out
from export.evaluation.temperature import check_logits, fit_temperature
from models.probabilities import clip, log_loss, softmax


@dataclass(frozen=True)
class Calibration:
    """What export puts into the graph (temperature) and the card (clip bound).

    Attributes:
        clip_choice: how the bound was chosen, as a sentence.
        gain_over_fixed: log loss that clipping at 0.95 costs more, cross-validated.
        gain_over_unclipped: log loss that not clipping costs more, cross-validated.
    """

    temperature: float
    clip_bound: float | None
    clip_choice: str
    gain_over_fixed: float | None = None
    gain_over_unclipped: float | None = None


def calibrate(logits: NDArray[Any], classes: NDArray[np.int64]) -> Calibration:
    """Fit the temperature and the clip bound on validation *logits* [N, K].

    The bound is chosen on rows whose temperature was fitted on the other folds; the
    gains are of rows whose temperature and bound both were.

    Raises:
        DatasetError: no photos, or logits that are NaN or infinite.
    """
    check_logits(logits)
    calibrated = _calibrate_held_out(logits, classes)
    clipped = hold_out(
        classes, lambda rest, held: _clip_held_out(logits, classes, rest, held)
    )
    chosen, unclipped = log_loss(clipped, classes), log_loss(calibrated, classes)
    fixed = log_loss(clip(calibrated, FIXED_BOUND), classes)
    choice = (
        f"least expected log loss in {FOLDS}-fold cross-validation on {len(classes)} "
        f"validation photos: {chosen:.4f} clipped so, {fixed:.4f} at {FIXED_BOUND}, "
        f"{unclipped:.4f} unclipped"
    )
    return Calibration(
        temperature=fit_temperature(logits, classes),
        clip_bound=choose_clip_bound(calibrated, classes),
        clip_choice=choice,
        gain_over_fixed=fixed - chosen,
        gain_over_unclipped=unclipped - chosen,
    )


def _calibrate_held_out(
    logits: NDArray[Any], classes: NDArray[np.int64]
) -> NDArray[np.float64]:
    def predict(rest: NDArray[np.bool_], held: NDArray[np.bool_]) -> NDArray[Any]:
        return softmax(logits[held], fit_temperature(logits[rest], classes[rest]))

    return hold_out(classes, predict)


def _clip_held_out(
    logits: NDArray[Any],
    classes: NDArray[np.int64],
    rest: NDArray[np.bool_],
    held: NDArray[np.bool_],
) -> NDArray[Any]:
    temperature = fit_temperature(logits[rest], classes[rest])
    if not rest.any():
        return softmax(logits[held], temperature)
    calibrated = _calibrate_held_out(logits[rest], classes[rest])
    bound = choose_clip_bound(calibrated, classes[rest])
    return clip(softmax(logits[held], temperature), bound)

"""Calibration: the temperature and the clip bound, fitted on validation photos.

Both are judged by cross-validation, on photos that they were not fitted to.

The temperature (Guo et al. 2017, "On calibration of modern neural networks",
arXiv:1706.04599) divides the logits: the most probable label stays, its confidence
changes. Few photos tell little about the best temperature, so it is the most probable
one, given a prior and a few mistakes that these photos happened not to show (like Platt
1999, "Probabilistic outputs for support vector machines", section 2.2, where no target is
0 or 1).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.probabilities import clip, log_loss, softmax

LOWEST_TEMPERATURE: Final = 0.05
HIGHEST_TEMPERATURE: Final = 20.0
PRIOR_DEVIATION: Final = 0.5
"""Standard deviation of the prior of ln(temperature), whose mean is 0."""

UNSEEN_MILD_MISTAKES: Final = 0.25
"""Mistakes at typical confidence that the temperature's photos happened not to show."""

SHARPENING_DOUBT: Final = 8.0
"""Extra weight of the prior for temperatures below 1 while no mistake was seen.

Photos without a mistake fit a temperature of zero best: they show that the model may be
more confident, but not how much. This constant and `UNSEEN_MILD_MISTAKES` are divided by
1 + mistakes seen, because seen mistakes stand for unseen ones. In simulations (2 and 10
classes, half to three times the right confidence, with and without 3 % wrong labels) new
photos lost about the least with these values after 10 to 200 validation photos. After 67
photos without a mistake they lost up to 0.014 more than uncalibrated, with the prior
alone up to 0.39; after 20 mistakes both change the temperature by about 2 %.
"""

FIXED_BOUND: Final = 0.95
"""The fast.ai course's clip bound, for comparison: safe, but costs 0.05 on every right row."""

CLIP_BOUNDS: Final = 1 - np.geomspace(0.2, 1e-5, 100)
"""Candidate upper bounds, 0.8 to 0.99999."""

UNSEEN_SURE_MISTAKES: Final = 0.1
"""Mistakes at full confidence that the validation photos happened not to show.

In simulations (2 and 10 classes, accuracy 0.66 to 0.98, calibrated or three times too
confident, with and without wrong labels) the loss on new photos was about the least with
0.1. With 1 (Laplace's rule of succession) it was 0.01 to 0.07 higher after ten validation
photos; after 2,000 the two differed by less than 0.001.
"""

FOLDS: Final = 5
_STEPS: Final = 17
"""Odd, so that the symmetric range contains a temperature of exactly 1."""

_SEED: Final = 0


@dataclass(frozen=True)
class Calibration:
    """The temperature, which export puts into the graph, and the clip bound of the card.

    Attributes:
        clip_choice: how the bound was chosen, as a sentence.
        gain_over_fixed: log loss saved against clipping at 0.95, cross-validated.
        gain_over_unclipped: log loss saved against no clipping, cross-validated.
    """

    temperature: float
    clip_bound: float | None
    clip_choice: str
    gain_over_fixed: float | None = None
    gain_over_unclipped: float | None = None


def calibrate(logits: NDArray[Any], classes: NDArray[np.int64]) -> Calibration:
    """Fit the temperature and the clip bound on validation *logits* [N, K].

    The bound is chosen on rows whose temperature was fitted on the other folds; for the
    gains both temperature and bound were.

    Raises:
        DatasetError: no photos, or logits that are NaN or infinite.
    """
    _check_logits(logits)
    calibrated = _calibrate_held_out(logits, classes)
    clipped = hold_out(
        classes, lambda rest, held: _clip_held_out(logits, classes, rest, held)
    )
    chosen, unclipped = log_loss(clipped, classes), log_loss(calibrated, classes)
    fixed = log_loss(clip(calibrated, FIXED_BOUND), classes)
    choice = (
        "the least log loss expected on new photos, of which some may be sure mistakes; "
        f"log loss in {FOLDS}-fold cross-validation on {len(classes)} validation photos: "
        f"{chosen:.4f} clipped so, {fixed:.4f} at {FIXED_BOUND}, "
        f"{unclipped:.4f} unclipped"
    )
    return Calibration(
        temperature=fit_temperature(logits, classes),
        clip_bound=choose_clip_bound(calibrated, classes),
        clip_choice=choice,
        gain_over_fixed=fixed - chosen,
        gain_over_unclipped=unclipped - chosen,
    )


def fit_temperature(logits: NDArray[Any], classes: NDArray[np.integer]) -> float:
    """The most probable temperature, given *logits* [N, K]; 1 for no photos.

    It minimises the sum of the photos' log losses, `UNSEEN_MILD_MISTAKES` / (1 + mistakes
    seen) times the mean log loss of mistakes on these photos, and ln(temperature)^2 /
    (2 `PRIOR_DEVIATION`^2), which below a temperature of 1 counts 1 + `SHARPENING_DOUBT`
    / (1 + mistakes seen) times. Three grids, each around the best of the one before: one
    parameter needs no optimizer, and a grid cannot diverge.
    """
    if not len(classes):
        return 1.0
    loss = _temperature_loss(logits, classes)
    low, high = np.log(LOWEST_TEMPERATURE), np.log(HIGHEST_TEMPERATURE)
    for _ in range(3):
        candidates = np.linspace(low, high, _STEPS)
        losses = [loss(each) for each in candidates]
        best, step = candidates[int(np.argmin(losses))], candidates[1] - candidates[0]
        low, high = max(low, best - step), min(high, best + step)
    return float(np.exp(best))


def choose_clip_bound(
    probabilities: NDArray[Any], classes: NDArray[np.integer]
) -> float:
    """The bound with the least log loss expected on new photos like these.

    *probabilities* [N, K] should come from a temperature that was not fitted to these
    photos. See `expected_loss`.
    """
    candidates = CLIP_BOUNDS[1 / probabilities.shape[1] < CLIP_BOUNDS]
    losses = [expected_loss(probabilities, classes, each) for each in candidates]
    return round(float(candidates[int(np.argmin(losses))]), 5)


def expected_loss(
    probabilities: NDArray[Any], classes: NDArray[np.integer], bound: float
) -> float:
    """Log loss of the clipped rows, with the unseen mistakes at full confidence.

    With N photos, M unseen mistakes and Kaggle's log loss, which divides a row by its
    sum: (N * observed - M * ln(floor)) / (N + M).
    """
    count = len(classes)
    observed = log_loss(clip(probabilities, bound), classes) * count if count else 0.0
    floor = (1 - bound) / (probabilities.shape[1] - 1)
    unseen = -UNSEEN_SURE_MISTAKES * float(np.log(floor))
    return (observed + unseen) / (count + UNSEEN_SURE_MISTAKES)


def stratified_folds(classes: NDArray[np.integer]) -> NDArray[np.int64]:
    """A fold number below `FOLDS` for each photo; the folds share every class evenly.

    A class with one photo is in one fold, and with fewer photos than folds some folds
    are empty. Depends on nothing but *classes*.
    """
    generator = np.random.default_rng(_SEED)
    shuffled = generator.permutation(len(classes))
    order = shuffled[np.argsort(classes[shuffled], kind="stable")]
    folds = np.empty(len(classes), dtype=np.int64)
    folds[order] = np.arange(len(classes)) % FOLDS
    return folds


def hold_out(
    classes: NDArray[np.integer],
    predict: Callable[[NDArray[np.bool_], NDArray[np.bool_]], NDArray[Any]],
) -> NDArray[np.float64]:
    """Cross-validated rows [N, ...]: each fold is predicted by a fit on the other folds.

    *predict* takes two masks [N]: photos to fit on, and photos to predict.
    """
    folds = stratified_folds(classes)
    held = [folds == fold for fold in np.unique(folds)]
    parts = [predict(~mask, mask) for mask in held]
    rows = np.empty((len(classes), *parts[0].shape[1:]))
    for mask, part in zip(held, parts, strict=True):
        rows[mask] = part
    return rows


def _check_logits(logits: NDArray[Any]) -> None:
    if not len(logits):
        raise DatasetError("no validation photos: calibration needs at least one")
    broken = int((~np.isfinite(logits)).any(axis=1).sum())
    if broken:
        message = (
            f"{broken} of {len(logits)} validation photos have NaN or infinite logits: "
            "train again with --precision float32 or a smaller --learning-rate"
        )
        raise DatasetError(message)


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


def _temperature_loss(
    logits: NDArray[Any], classes: NDArray[np.integer]
) -> Callable[[float], float]:
    """What `fit_temperature` minimises, as a function of ln(temperature)."""
    shifted = np.asarray(logits, dtype=np.float64)
    shifted = shifted - shifted.max(axis=1, keepdims=True)
    count, labels = shifted.shape
    mistakes = int((shifted.argmax(axis=1) != classes).sum())
    fading = 1 / (1 + mistakes)
    unseen = UNSEEN_MILD_MISTAKES * fading
    true = shifted[np.arange(count), classes].sum()
    # The predicted class is at 0 and adds nothing: the mean is over the other classes.
    mistaken = shifted.sum(axis=1).mean() / (labels - 1)

    def loss(logarithm: float) -> float:
        temperature = np.exp(logarithm)
        normalisers = np.log(np.exp(shifted / temperature).sum(axis=1)).sum()
        losses = normalisers - true / temperature
        unseen_losses = unseen * (normalisers / count - mistaken / temperature)
        weight = 1 + SHARPENING_DOUBT * fading if logarithm < 0 else 1.0
        prior = weight * logarithm**2 / (2 * PRIOR_DEVIATION**2)
        return float(losses + unseen_losses + prior)

    return loss

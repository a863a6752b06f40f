"""Probabilities: softmax, clipping and log loss, the same in training and in serving.

Rows are images, columns are labels in the model card's order; float64 inside.
"""

from __future__ import annotations

import math
from typing import Final, TypeAlias

import numpy as np
from numpy.typing import NDArray

from models.errors import InvalidRequestError, quoted

Probabilities: TypeAlias = NDArray[np.floating]
"""[N, K], each row sums to 1."""

KAGGLE_EPSILON: Final = 1e-15
"""Kaggle moves probabilities this far away from 0 and 1 before it takes logarithms."""


def softmax(logits: NDArray[np.floating], temperature: float = 1.0) -> Probabilities:
    """softmax(*logits* / *temperature*) along the last axis."""
    scaled = np.asarray(logits, dtype=np.float64) / temperature
    scaled -= scaled.max(axis=-1, keepdims=True)
    exponentials = np.exp(scaled)
    return np.asarray(exponentials / exponentials.sum(axis=-1, keepdims=True))


def clip(probabilities: Probabilities, bound: float | None) -> Probabilities:
    """Limit each value to [(1 - bound) / (K - 1), bound]; None leaves them as they are.

    For two classes and 0.95 these are the 0.05 and 0.95 of the fast.ai course. Rows are
    not normalised again: that would leave the bounds.

    Raises:
        InvalidRequestError: the bound is not in (1/K, 1].
    """
    if bound is None:
        return probabilities
    classes = probabilities.shape[-1]
    check_clip_bound(bound, classes)
    return np.clip(probabilities, (1 - bound) / (classes - 1), bound)


def check_clip_bound(bound: float, classes: int) -> None:
    """Accept *bound* for *classes* labels.

    Raises:
        InvalidRequestError: *bound* would reverse the order of the labels, or is no
            probability.
    """
    if not (math.isfinite(bound) and 1 / classes < bound <= 1):
        message = (
            f"clip={bound:g} is not possible for {classes} labels: "
            f"use a number above {1 / classes:.3g} and up to 1, or 'off'"
        )
        raise InvalidRequestError(message)


def parse_clip(text: str | float | None, default: float | None) -> float | None:
    """The clip bound that a user wrote: None means *default*, "off" no clipping.

    Raises:
        InvalidRequestError: *text* is neither a number nor "off".
    """
    if text is None:
        return default
    if text == "off":
        return None
    try:
        return float(text)
    except (TypeError, ValueError, OverflowError) as error:
        message = f"clip={quoted(text)} is not a number: use for example 0.95, or 'off'"
        raise InvalidRequestError(message) from error


def log_loss(
    probabilities: Probabilities,
    classes: NDArray[np.integer],
    *,
    normalise: bool = True,
) -> float:
    """Kaggle's log loss of *probabilities* [N, K] for true class numbers [N].

    The mean of `log_losses`.
    """
    return float(log_losses(probabilities, classes, normalise=normalise).mean())


def log_losses(
    probabilities: Probabilities,
    classes: NDArray[np.integer],
    *,
    normalise: bool = True,
) -> NDArray[np.float64]:
    """The log loss of each of *probabilities* [N, K] for true class numbers [N].

    Rows are divided by their sum (*normalise*), then limited to [1e-15, 1 - 1e-15], as
    Kaggle's multi-class evaluation pages state.
    """
    rows = np.asarray(probabilities, dtype=np.float64)
    chosen = rows[np.arange(len(classes)), classes]
    if normalise:
        chosen = chosen / rows.sum(axis=1)
    limited = np.clip(chosen, KAGGLE_EPSILON, 1 - KAGGLE_EPSILON)
    return np.asarray(-np.log(limited))


def accuracy(probabilities: Probabilities, classes: NDArray[np.integer]) -> float:
    """Share of rows whose largest probability is at the true class."""
    return float((probabilities.argmax(axis=1) == classes).mean())

"""Cross-validation of what is fitted on validation photos, so that it is judged fairly."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

FOLDS: Final = 5
_SEED: Final = 0


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
    """Rows [N, ...] that each fold gets from what was fitted on all the others.

    *predict* takes two masks [N], photos to fit on and photos to answer for.
    """
    folds = stratified_folds(classes)
    held = [folds == fold for fold in np.unique(folds)]
    parts = [predict(~mask, mask) for mask in held]
    rows = np.empty((len(classes), *parts[0].shape[1:]))
    for mask, part in zip(held, parts, strict=True):
        rows[mask] = part
    return rows

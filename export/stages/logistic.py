"""Regularised logistic regression, solved exactly in its dual form.

For n photos with far more features than photos only the n x n products of their rows are
needed. Newton's method (iteratively reweighted least squares; Hastie, Tibshirani and
Friedman, The Elements of Statistical Learning, 4.4.1 and 12.3.3) converges in a few steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

MAX_ROWS: Final = 8_000
"""Photos; their products take n^2 x 8 bytes, and a step n^3 / 3 multiplications."""

MAX_STEPS: Final = 12
TOLERANCE: Final = 1e-2
"""Largest change of a logit at which Newton's method ends."""

Solution = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Kernel [D, K] and bias [K] of a Dense layer."""


def fit_logistic(
    rows: NDArray[np.float32],
    targets: NDArray[np.float32],
    strengths: Sequence[float],
) -> Iterator[tuple[float, Solution]]:
    """(strength, solution) for each of the falling *strengths* of regularisation.

    *rows* [n, D], *targets* probabilities [n, K]. Minimises, for each class against the
    rest, the sum of the log losses plus strength x n / 2 x (|w|^2 + b^2); two classes
    are one problem. Each solution starts from the one before.
    """
    products = (rows @ rows.T).astype(np.float64) + 1.0
    classes = targets.shape[1]
    solved = [1] if classes == 2 else list(range(classes))
    logits = np.zeros((len(solved), len(rows)))
    for strength in strengths:
        duals = []
        for place, number in enumerate(solved):
            dual = _newton(products, targets[:, number], strength, logits[place])
            logits[place] = products @ dual
            duals.append(dual)
        yield strength, _primal(rows, np.stack(duals, axis=1), classes)


def _newton(
    products: NDArray[np.float64],
    targets: NDArray[np.float32],
    strength: float,
    start: NDArray[np.float64],
) -> NDArray[np.float64]:
    logits: NDArray[Any] = start
    dual: NDArray[Any] = start
    for _ in range(MAX_STEPS):
        probabilities = 1 / (1 + np.exp(-np.clip(logits, -500, 500)))
        weights = np.maximum(probabilities * (1 - probabilities), 1e-4)
        response = logits + (targets - probabilities) / weights
        system = products + np.diag(strength * len(targets) / weights)
        dual = np.linalg.solve(system, response)
        change = np.abs(products @ dual - logits).max()
        logits = products @ dual
        if change < TOLERANCE:
            break
    return dual


def _primal(
    rows: NDArray[np.float32], duals: NDArray[np.float64], classes: int
) -> Solution:
    kernel = rows.T.astype(np.float64) @ duals
    bias = duals.sum(axis=0)
    if classes == 2:
        # One logit f for two classes: softmax([-f/2, f/2]) is its sigmoid.
        kernel = np.concatenate([-kernel / 2, kernel / 2], axis=1)
        bias = np.concatenate([-bias / 2, bias / 2])
    return kernel.astype(np.float32), bias.astype(np.float32)

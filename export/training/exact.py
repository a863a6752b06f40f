"""A second-order head fitted exactly: principal components, scales, logistic regression.

Deterministic and done in seconds: no learning rate, no epochs. What early stopping is to
training by gradients, the path of falling regularisation is here: its steps up to the one
with the least validation loss are recorded as epochs, and that one is kept.

For n photos with far more features than photos only the n x n products of their rows are
needed. Newton's method (iteratively reweighted least squares; Hastie, Tibshirani and
Friedman, The Elements of Statistical Learning, 4.4.1 and 12.3.3) converges in a few
steps.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.training.checkpoints import Epoch
from export.training.examples import FeatureExamples
from export.training.stage import (
    StageRun,
    check_moved,
    loss_and_accuracy,
    predict,
    stop_reason,
)
from models.networks.freezing import CutNetwork
from models.networks.heads import FEATURES, PRODUCTS, PROJECTION, STANDARDISATION

PROJECTION_PHOTOS: Final = 300
PRODUCTS_WEIGHT: Final = 0.5
"""Share of the products of channels against the pooled vectors, in squared distance."""

BATCH: Final = 64
MAX_ROWS: Final = 8_000
"""Photos; their products take n^2 x 8 bytes, and a step n^3 / 3 multiplications."""

MAX_STEPS: Final = 12
TOLERANCE: Final = 1e-2
"""Largest change of a logit at which Newton's method ends."""

Solution = tuple[NDArray[np.float32], NDArray[np.float32]]
"""Kernel [D, K] and bias [K] of a Dense layer."""


def run_exact_stage(run: StageRun, network: CutNetwork) -> tuple[Epoch, ...]:
    """Fit the head of *network* in place; it ends with the best step's weights.

    The inputs are cached features of at most `MAX_ROWS` photos, as `check_recipe` ensures.

    Raises:
        DatasetError: frozen weights changed, or trained ones did not.
    """
    train, valid = run.train, run.valid
    if not (isinstance(train, FeatureExamples) and isinstance(valid, FeatureExamples)):
        raise TypeError("a stage that is solved exactly learns from cached features")
    model = network.whole
    before = model.get_weights()
    _fit_projection(network, train, run.seed)
    extractor = network.up_to(model.get_layer(FEATURES).output)
    features = _mean_features(extractor, train)
    _fit_scales(model, features)
    offset, scale = model.get_layer(STANDARDISATION).get_weights()
    rows = np.asarray((features - offset) * scale, np.float32)
    held_out = (_mean_features(extractor, valid) - offset) * scale
    epochs: list[Epoch] = []
    solutions: list[Solution] = []
    strengths = [run.stage.learning_rate / 2**step for step in range(run.stage.epochs)]
    for strength, solution in fit_logistic(rows, train.part.targets, strengths):
        trained = _evaluate(rows, train.part.targets, solution)
        validated = _evaluate(held_out, valid.part.targets, solution)
        place = (run.member, run.number, len(epochs) + 1)
        epochs.append(Epoch(*place, strength, *trained, *validated))
        solutions.append(solution)
        run.report(len(epochs), len(strengths))
        best = int(np.argmin([epoch.val_loss for epoch in epochs]))
        if stop_reason(run.stage, epochs, best + 1):
            break
    kept = best if run.stage.keep == "best" else len(epochs) - 1
    model.get_layer("logits").set_weights(solutions[kept])
    check_moved(model, before)
    run.report(len(strengths), len(strengths))
    return tuple(epochs[: kept + 1])


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


def _fit_projection(network: CutNetwork, train: FeatureExamples, seed: int) -> None:
    # Principal components of unit variance, from some photos' positions.
    layer = network.whole.get_layer(PROJECTION)
    maps = network.up_to(layer.input)
    order = np.random.default_rng(seed).permutation(len(train.part.rows))
    found = predict(maps, train, np.sort(order[:PROJECTION_PHOTOS]), BATCH)
    rows = found.reshape(-1, found.shape[-1]).astype(np.float64)
    mean = rows.mean(axis=0)
    variances, axes = np.linalg.eigh(np.cov((rows - mean).T))
    largest = np.argsort(variances)[::-1][: layer.filters]
    scales = np.sqrt(variances[largest] + 1e-3 * variances.max())
    kernel = axes[:, largest] / scales
    layer.set_weights([kernel[None, None], -mean @ kernel])


def _mean_features(extractor: Any, examples: FeatureExamples) -> NDArray[np.float32]:
    # The mean of a photo's views, so that every photo counts once.
    views = [replace(examples, passes=[each]) for each in examples.passes]
    total = sum(predict(extractor, view, batch_size=BATCH) for view in views)
    return np.asarray(total / len(views))


def _fit_scales(model: Any, features: NDArray[np.float32]) -> None:
    # Unit variance, and each kind of feature shares in the distance as a whole.
    mean, deviation = features.mean(axis=0), features.std(axis=0)
    products = model.get_layer(PRODUCTS).output.shape[-1]
    pooled = features.shape[1] - products
    share = np.concatenate(
        [np.full(pooled, 1 / pooled), np.full(products, PRODUCTS_WEIGHT / products)]
    )
    scale = np.sqrt(share) / (deviation + 1e-3 * deviation.mean() + 1e-6)
    model.get_layer(STANDARDISATION).set_weights([mean, scale.astype(np.float32)])


def _evaluate(
    rows: NDArray[np.float32], targets: NDArray[np.float32], solution: Solution
) -> tuple[float, float]:
    kernel, bias = solution
    return loss_and_accuracy(rows @ kernel + bias, targets)


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

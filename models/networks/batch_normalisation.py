"""Batch normalisation put into a trained network without changing what it answers.

A normalisation that has seen nothing would scale its input; one whose gamma is the
standard deviation and whose beta is the mean of that very input gives it back. Only gamma
and beta are trained; mean and variance are moving statistics.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.networks.insertion import insert_layers

EPSILON: Final = 1e-3
"""What Keras adds to the variance."""

SUFFIX: Final = "_bn"
"""The new layer after "fc1" is called "fc1_bn"."""


@dataclass(frozen=True)
class Moments:
    """Mean and variance of each channel of one layer's output, float64 [C]."""

    mean: NDArray[np.float64]
    variance: NDArray[np.float64]


def insert_batch_normalisation(
    model: Any, after: Sequence[str], batches: Iterable[NDArray[Any]]
) -> Any:
    """A copy of *model* with batch normalisation after each layer named in *after*.

    *model* is functional; *batches* [n, ...] of its input give the statistics. Answers
    stay the same: y = gamma (x - mean) / sqrt(variance + epsilon) + beta with
    gamma = sqrt(variance + epsilon) and beta = mean is y = x.

    Raises:
        InvalidRequestError: there is no layer of such a name.
        DatasetError: *batches* is empty.
    """
    normalisations = {
        name: keras.layers.BatchNormalization(epsilon=EPSILON, name=f"{name}{SUFFIX}")
        for name in after
    }
    changed = insert_layers(model, normalisations)
    for name, moments in zip(
        after, measure_moments(model, after, batches), strict=True
    ):
        gamma = np.sqrt(moments.variance + EPSILON)
        statistics = [gamma, moments.mean, moments.mean, moments.variance]
        normalisations[name].set_weights(
            [values.astype(np.float32) for values in statistics]
        )
    return changed


def measure_moments(
    model: Any, names: Sequence[str], batches: Iterable[NDArray[Any]]
) -> list[Moments]:
    """Moments of the outputs of the layers *names* over all *batches*, per channel.

    Batches are merged in float64 (Chan, Golub and LeVeque 1983): no sum of squares, so
    nothing cancels.

    Raises:
        DatasetError: *batches* is empty.
    """
    tapped = keras.Model(
        model.inputs, {name: model.get_layer(name).output for name in names}
    )
    merged: list[_Sums] = []
    for batch in batches:
        outputs = tapped.predict_on_batch(batch)
        found = [_sums_of(outputs[name]) for name in names]
        merged = list(map(_merge, merged, found)) if merged else found
    if not merged:
        raise DatasetError("no photos to measure activations on: give at least one")
    return [Moments(sums.mean, sums.scatter / sums.count) for sums in merged]


@dataclass(frozen=True)
class _Sums:
    """``scatter``: sum of squared distances from ``mean``."""

    count: int
    mean: NDArray[np.float64]
    scatter: NDArray[np.float64]


def _sums_of(activations: Any) -> _Sums:
    rows = np.asarray(activations, dtype=np.float64)
    rows = rows.reshape(-1, rows.shape[-1])
    mean = rows.mean(axis=0)
    return _Sums(len(rows), mean, ((rows - mean) ** 2).sum(axis=0))


def _merge(left: _Sums, right: _Sums) -> _Sums:
    count = left.count + right.count
    step = right.mean - left.mean
    share = right.count / count
    scatter = left.scatter + right.scatter + step**2 * left.count * share
    return _Sums(count, left.mean + step * share, scatter)

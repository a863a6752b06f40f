"""Heads that recipes put on a network's base: from maps to logits.

Dropout is Keras's inverted one: weights need no rescaling when its rate changes.
Everything here is float32 whatever the base computes in.

Second-order pooling sees which channels answer together, wherever they do: the mean over
all positions of the outer product of the channels, its signed square root (Lin, RoyChowdhury
and Maji 2015, arXiv:1504.07889: bilinear pooling of one network). It sees textures and faint
lines that means and maxima of single channels miss.

Batch normalisation can be put into a trained network without changing its answers. A new
normalisation would scale its input; one whose gamma is the standard deviation and whose beta
is the mean of that input is the identity. Only gamma and beta are trained; mean and variance
are moving statistics.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError, InvalidRequestError
from models.networks.network import (
    FLAT_HEAD,
    NORMALISED_HEAD,
    POOLED_HEAD,
    PROBABILITIES_HEAD,
    SECOND_ORDER_HEAD,
    TOP_HEAD,
    Head,
    Network,
)
from models.networks.vgg16 import add_vgg16_dense, add_vgg16_predictions

FEATURES: Final = "features"
PROJECTION: Final = "head_projection"
PRODUCTS: Final = "head_products"
STANDARDISATION: Final = "head_standardised"
"""Names of the heads' layers that are fitted to data, not trained by gradients."""


@dataclass(frozen=True)
class AssembledNetwork:
    """A flat functional model, pixels 0..255 [N, H, W, 3] -> logits [N, K].

    ``base`` holds the names of the base's layers in order; the others are the head's.
    """

    model: Any
    base: tuple[str, ...]


def assemble(
    network: Network,
    head: Head,
    classes: int,
    image_size: tuple[int, int],
    dtype: str = "float32",
) -> AssembledNetwork:
    """The network with *head* on the base of *network*; all weights are random.

    Raises:
        InvalidRequestError: unknown kind of head or tap, or the image is too small.
    """
    if min(image_size) < network.smallest_image:
        message = (
            f"{network.name} needs images of at least {network.smallest_image} pixels "
            f"a side, not {image_size[0]} x {image_size[1]}: use --image-size"
        )
        raise InvalidRequestError(message)
    if head.kind not in _HEADS:
        message = f"no head {head.kind!r}: choose one of {', '.join(_HEADS)}"
        raise InvalidRequestError(message)
    base = network.build_base(image_size, dtype)
    logits = _HEADS[head.kind](network, base, head, classes)
    model = keras.Model(base.input, logits, name=network.name)
    used = {layer.name for layer in model.layers}
    names = (layer.name for layer in base.layers if layer.name in used)
    return AssembledNetwork(model, tuple(names))


def _top(network: Network, base: Any, head: Head, classes: int) -> Any:
    return network.add_top(base.output, classes, head.dropout)


def _normalised(network: Network, base: Any, head: Head, classes: int) -> Any:
    _check_vgg16(network, NORMALISED_HEAD)
    return keras.layers.Dense(classes, name="logits")(
        add_vgg16_dense(base.output, head.dropout, normalised=True)
    )


def _pooled(_network: Network, base: Any, head: Head, classes: int) -> Any:
    vectors = [vector for tap in head.taps for vector in _pool(base, tap)]
    values = keras.layers.Concatenate(name=FEATURES, dtype="float32")(vectors)
    for number, units in enumerate(head.hidden, start=1):
        values = _regularised(values, number, head.dropout)
        dense = keras.layers.Dense(units, activation="relu", name=f"head_dense{number}")
        values = dense(values)
    values = _regularised(values, len(head.hidden) + 1, head.dropout)
    return keras.layers.Dense(classes, name="logits")(values)


def _second_order(_network: Network, base: Any, head: Head, classes: int) -> Any:
    vectors = [vector for tap in head.taps for vector in _pool(base, tap)]
    maps = _tap(base, head.products, f"{head.products}_products")
    projection = keras.layers.Conv2D(head.channels, 1, name=PROJECTION)
    products = SecondOrderPooling(name=PRODUCTS)(projection(maps))
    values = keras.layers.Concatenate(name=FEATURES)([*vectors, products])
    values = Standardisation(name=STANDARDISATION)(values)
    return keras.layers.Dense(classes, name="logits")(values)


def _pool(base: Any, tap: str) -> list[Any]:
    maps = _tap(base, tap, f"{tap}_tap")
    return [
        keras.layers.GlobalAveragePooling2D(name=f"{tap}_mean")(maps),
        keras.layers.GlobalMaxPooling2D(name=f"{tap}_max")(maps),
    ]


def _tap(base: Any, tap: str, name: str) -> Any:
    names = [layer.name for layer in base.layers]
    if tap not in names:
        message = f"no layer {tap!r} to tap: choose one of {', '.join(names)}"
        raise InvalidRequestError(message)
    copy = keras.layers.Activation("linear", dtype="float32", name=name)
    return copy(base.get_layer(tap).output)


def _regularised(values: Any, number: int, dropout: float | None) -> Any:
    normalised = keras.layers.BatchNormalization(name=f"head_normalised{number}")
    return _dropout(normalised(values), f"head_dropout{number}", dropout)


def _flat(_network: Network, base: Any, head: Head, classes: int) -> Any:
    # Half the rate except before the logits, as in the fast.ai State Farm notebook.
    rate = 0.5 if head.dropout is None else head.dropout
    values = keras.layers.Flatten(name="head_flat", dtype="float32")(base.output)
    values = _dropout(values, "head_dropout0", rate / 2)
    for number, units in enumerate(head.hidden, start=1):
        last = number == len(head.hidden)
        dense = keras.layers.Dense(units, activation="relu", name=f"head_dense{number}")
        values = keras.layers.BatchNormalization(name=f"head_normalised{number}")(
            dense(values)
        )
        values = _dropout(values, f"head_dropout{number}", rate if last else rate / 2)
    return keras.layers.Dense(classes, name="logits")(values)


def _probabilities(network: Network, base: Any, _head: Head, classes: int) -> Any:
    _check_vgg16(network, PROBABILITIES_HEAD)
    return keras.layers.Dense(classes, name="logits")(
        add_vgg16_predictions(base.output)
    )


def _check_vgg16(network: Network, kind: str) -> None:
    if network.name != "vgg16":
        message = f"the head {kind!r} is for vgg16, not for {network.name}"
        raise InvalidRequestError(message)


def _dropout(values: Any, name: str, rate: float | None) -> Any:
    return keras.layers.Dropout(0.5 if rate is None else rate, name=name)(values)


_Builder = Callable[[Network, Any, Head, int], Any]
_HEADS: Final[Mapping[str, _Builder]] = MappingProxyType(
    {
        TOP_HEAD: _top,
        NORMALISED_HEAD: _normalised,
        POOLED_HEAD: _pooled,
        FLAT_HEAD: _flat,
        SECOND_ORDER_HEAD: _second_order,
        PROBABILITIES_HEAD: _probabilities,
    }
)


@keras.saving.register_keras_serializable("kennel")
class SecondOrderPooling(keras.layers.Layer):  # type: ignore[misc]
    """Maps [N, H, W, C] -> [N, C (C + 1) / 2], each pair of channels once."""

    def call(self, maps: Any) -> Any:
        """Pool *maps* over their positions."""
        _, height, width, channels = maps.shape
        rows = keras.ops.reshape(maps, (-1, height * width, channels))
        products = keras.ops.matmul(keras.ops.transpose(rows, (0, 2, 1)), rows)
        upper, right = np.triu_indices(channels)
        flat = keras.ops.reshape(products, (-1, channels * channels))
        pairs = keras.ops.take(flat, upper * channels + right, axis=1)
        means = pairs / float(height * width)
        return keras.ops.sign(means) * keras.ops.sqrt(keras.ops.abs(means))


@keras.saving.register_keras_serializable("kennel")
class Standardisation(keras.layers.Layer):  # type: ignore[misc]
    """(values - offset) x scale, [N, D]; set from data, not trained by gradients."""

    def build(self, shape: tuple[int | None, ...]) -> None:
        """Begin as the identity."""
        width = (shape[-1],)
        self.offset = self.add_weight(
            shape=width, initializer="zeros", trainable=False, name="offset"
        )
        self.scale = self.add_weight(
            shape=width, initializer="ones", trainable=False, name="scale"
        )

    def call(self, values: Any) -> Any:
        """Standardise *values*."""
        return (values - self.offset) * self.scale


NORMALISATION_EPSILON: Final = 1e-3
"""Keras adds it to the variance."""

NORMALISATION_SUFFIX: Final = "_bn"
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
        name: keras.layers.BatchNormalization(
            epsilon=NORMALISATION_EPSILON, name=f"{name}{NORMALISATION_SUFFIX}"
        )
        for name in after
    }
    changed = insert_layers(model, normalisations)
    for name, moments in zip(
        after, measure_moments(model, after, batches), strict=True
    ):
        gamma = np.sqrt(moments.variance + NORMALISATION_EPSILON)
        statistics = [gamma, moments.mean, moments.mean, moments.variance]
        normalisations[name].set_weights(
            [values.astype(np.float32) for values in statistics]
        )
    return changed


def insert_layers(model: Any, after: Mapping[str, Any]) -> Any:
    """A copy of *model* with a new layer after each layer named in *after*.

    *model* is functional; its weights are copied, the new layers keep their own.

    Raises:
        InvalidRequestError: there is no layer of such a name; the message lists the names.
    """
    known = [layer.name for layer in model.layers]
    for name in after:
        if name not in known:
            message = f"no layer {name!r} in {model.name}: there are {', '.join(known)}"
            raise InvalidRequestError(message)

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        output = layer(*arguments, **options)
        return after[layer.name](output) if layer.name in after else output

    changed = keras.models.clone_model(model, call_function=call)
    copy_weights(model, changed)
    return changed


def layers_with_weights(
    model: Any, names: Collection[str] | None = None
) -> dict[str, Any]:
    """The layers of *model* that hold weights, by name and in order.

    A block of layers (ConvNeXt has some) counts as its layers. With *names*, only the
    layers and blocks of these names.
    """
    found: dict[str, Any] = {}
    for layer in model.layers:
        if names is not None and layer.name not in names:
            continue
        if hasattr(layer, "layers"):
            found |= layers_with_weights(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found


def copy_weights(source: Any, target: Any) -> None:
    """Give the layers of *target* the weights of *source*'s layers of the same name."""
    copies = layers_with_weights(target)
    for name, layer in layers_with_weights(source).items():
        copies[name].set_weights(layer.get_weights())


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

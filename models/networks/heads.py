"""What recipes put on a network's base: from maps to logits.

Dropout is Keras's inverted one: weights need no rescaling when its rate changes.
Everything here is float32 whatever the base computes in.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import keras

from models.errors import InvalidRequestError
from models.networks.head import (
    FLAT,
    NORMALISED,
    POOLED,
    PROBABILITIES,
    SECOND_ORDER,
    TOP,
    Head,
)
from models.networks.network import Network
from models.networks.second_order import SecondOrderPooling, Standardisation
from models.networks.vgg16 import add_vgg16_dense, add_vgg16_predictions

FEATURES: Final = "features"
PROJECTION: Final = "head_projection"
PRODUCTS: Final = "head_products"
STANDARDISATION: Final = "head_standardised"
"""Layers of heads that are fitted to data, not trained by gradients."""


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
    """*head* on the base of *network*; all weights are random.

    Raises:
        InvalidRequestError: no such kind of head or tap, or the image is too small.
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
    _check_vgg16(network, NORMALISED)
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
    # Half the rate everywhere but before the logits: the fast.ai State Farm notebook.
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
    _check_vgg16(network, PROBABILITIES)
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
        TOP: _top,
        NORMALISED: _normalised,
        POOLED: _pooled,
        FLAT: _flat,
        SECOND_ORDER: _second_order,
        PROBABILITIES: _probabilities,
    }
)

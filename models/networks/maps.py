"""Which layers of a network still have a place: their output is [N, h, w, C]."""

from __future__ import annotations

import math
from typing import Any

import keras

from models.errors import InvalidRequestError


def spatial_layers(model: Any) -> list[Any]:
    """The layers of *model* with maps of more than one point, from the pixels on."""
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer | keras.Model)
        and _has_place(output_shape(layer))
    ]


def find_last_maps(model: Any) -> Any:
    """The last layer whose output still has a place.

    Raises:
        InvalidRequestError: there is none.
    """
    found = spatial_layers(model)
    if not found:
        raise no_maps(model)
    return found[-1]


def no_maps(model: Any) -> InvalidRequestError:
    """The error for a *model* without maps."""
    return InvalidRequestError(
        f"network {model.name!r} has no convolution's maps to look at: "
        f"give one that is a flat functional model"
    )


def output_shape(layer: Any) -> tuple[int | None, ...]:
    """The shape of a layer's first output without the batch axis; None: it varies."""
    output = layer.output
    first = output[0] if isinstance(output, list | tuple) else output
    return tuple(first.shape[1:])


def _has_place(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 3 and math.prod(side or 2 for side in shape[:2]) > 1

"""The layers of a network as a table, and where its convolutions are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras

from models.errors import InvalidRequestError

_CONVOLUTIONS: Final = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True)
class LayerRow:
    """One layer; *output_shape* is without the batch axis, None where it varies."""

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    trainable: int


def list_layers(model: Any) -> tuple[LayerRow, ...]:
    """Every layer of *model*, those inside nested models too, with its parameters."""
    return tuple(_row(layer) for layer in _flat(model))


def can_look_inside(model: Any) -> bool:
    """Whether *model* has convolutions over a plane, and so filters and maps."""
    return any(isinstance(layer, _CONVOLUTIONS) for layer in _spatial(model))


def find_convolutions(model: Any) -> list[Any]:
    """The convolutions over a plane, from the pixels on.

    Those on single points (squeeze and excite) see nothing of it and are left out.

    Raises:
        InvalidRequestError: there are none.
    """
    found = [each for each in _spatial(model) if isinstance(each, _CONVOLUTIONS)]
    return found or _refuse(model)


def find_last_maps(model: Any) -> Any:
    """The last layer whose output still has a place: [N, h, w, C].

    Raises:
        InvalidRequestError: there is none.
    """
    found = _spatial(model)
    return found[-1] if found else _refuse(model)


def _refuse(model: Any) -> Any:
    message = (
        f"network {model.name!r} has no convolution's maps to look at: "
        f"give one that is a flat functional model"
    )
    raise InvalidRequestError(message)


def _spatial(model: Any) -> list[Any]:
    return [
        layer
        for layer in model.layers
        if not isinstance(layer, keras.layers.InputLayer | keras.Model)
        and _has_place(_output_shape(layer))
    ]


def _has_place(shape: tuple[int | None, ...]) -> bool:
    return len(shape) == 3 and math.prod(side or 2 for side in shape[:2]) > 1


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _row(layer: Any) -> LayerRow:
    trainable = sum(math.prod(each.shape) for each in layer.trainable_weights)
    return LayerRow(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=_output_shape(layer),
        parameters=layer.count_params(),
        trainable=trainable,
    )


def _output_shape(layer: Any) -> tuple[int | None, ...]:
    output = layer.output
    first = output[0] if isinstance(output, list | tuple) else output
    return tuple(first.shape[1:])

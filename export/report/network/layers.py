"""The layers of a network as a table, and where its convolutions are."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

import keras

from models.networks.attention import no_maps, output_shape, spatial_layers

_CONVOLUTIONS: Final = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)


@dataclass(frozen=True)
class LayerRow:
    """One layer; *output_shape* is without the batch axis, None where it varies.

    *trained*: those of its *parameters* that are trainable, which statistics are not.
    """

    name: str
    kind: str
    output_shape: tuple[int | None, ...]
    parameters: int
    trained: int


def list_layers(model: Any) -> tuple[LayerRow, ...]:
    """Every layer of *model*, those inside nested models too, with its parameters."""
    return tuple(_row(layer) for layer in _flat(model))


def can_look_inside(model: Any) -> bool:
    """Whether *model* has convolutions over a plane, and so filters and maps."""
    return any(isinstance(layer, _CONVOLUTIONS) for layer in spatial_layers(model))


def find_convolutions(model: Any) -> list[Any]:
    """The convolutions over a plane, from the pixels on.

    Those on single points (squeeze and excite) see nothing of it and are left out.

    Raises:
        InvalidRequestError: there are none.
    """
    found = [each for each in spatial_layers(model) if isinstance(each, _CONVOLUTIONS)]
    if not found:
        raise no_maps(model)
    return found


def _flat(model: Any) -> Iterator[Any]:
    for layer in model.layers:
        if isinstance(layer, keras.Model):
            yield from _flat(layer)
        else:
            yield layer


def _row(layer: Any) -> LayerRow:
    trained = sum(math.prod(each.shape) for each in layer.trainable_weights)
    return LayerRow(
        name=layer.name,
        kind=type(layer).__name__,
        output_shape=output_shape(layer),
        parameters=layer.count_params(),
        trained=trained,
    )

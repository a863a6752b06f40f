"""Inside of a Keras network for the report: layers, first filters, activations, Grad-CAM."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.images.codec import Pixels
from models.networks.attention import (
    cut_at_last_maps,
    heatmaps,
    no_maps,
    output_shape,
    spatial_layers,
)
from models.networks.freezing import CutNetwork

_CONVOLUTIONS: Final = (
    keras.layers.Conv2D,
    keras.layers.DepthwiseConv2D,
    keras.layers.SeparableConv2D,
)
GRAD_CAM_BATCH: Final = 8
CHANNELS: Final = 4
_PROBE: Final = 255.0


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


@dataclass(frozen=True)
class LayerActivations:
    """The liveliest channels of one layer, for N photos.

    Attributes:
        channels: their numbers [N, c], the liveliest first.
        maps: their activations [N, c, h, w], float32.
    """

    layer: str
    channels: NDArray[np.int64]
    maps: NDArray[np.float32]


def list_layers(model: Any) -> tuple[LayerRow, ...]:
    """Every layer of *model*, those inside nested models too, with its parameters."""
    return tuple(_row(layer) for layer in _flat(model))


def has_convolutions(model: Any) -> bool:
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


def first_layer_filters(model: Any) -> NDArray[np.float32]:
    """The first convolution's filters as they act on RGB pixels: [F, h, w, 3].

    Positive where a filter answers to more of a colour, negative where to less. The
    preprocessing between pixels and convolution (channel order, means, scales) is a
    linear map of each pixel's colour; its matrix is measured with plain images, so that
    filters of a BGR network are shown in RGB.

    Raises:
        InvalidRequestError: the model has no convolution.
    """
    first = find_convolutions(model)[0]
    kernel = np.asarray(first.kernel, dtype=np.float32)
    matrix = _colour_matrix(model, first)
    return np.asarray(np.einsum("hwcf,rc->fhwr", kernel, matrix))


def activation_maps(
    model: Any, pixels: Pixels, channels: int = CHANNELS
) -> tuple[LayerActivations, ...]:
    """Maps of the first, middle and last convolution for *pixels* [N, H, W, 3].

    Of each, the *channels* whose answers vary most over the photo.

    Raises:
        InvalidRequestError: the model has no convolution.
    """
    layers = _three(find_convolutions(model))
    part = keras.Model(model.input, [layer.output for layer in layers])
    # One photo at a time: the first layer's maps of ten would fill 128 MB.
    seen = [
        [
            _liveliest(answer, channels)
            for answer in keras.tree.flatten(part(photo[None], training=False))
        ]
        for photo in pixels.astype(np.float32)
    ]
    return tuple(
        LayerActivations(
            layer.name,
            channels=np.stack([answers[number][0] for answers in seen]),
            maps=np.stack([answers[number][1] for answers in seen]),
        )
        for number, layer in enumerate(layers)
    )


def grad_cams(
    model: Any, pixels: Pixels, choices: Sequence[NDArray[np.integer[Any]]]
) -> list[NDArray[np.float32]]:
    """Heat [N, h, w], 0..1, for each of the *choices* of classes [N].

    *pixels* are [N, H, W, 3]; the maps are computed only once for all choices.

    Raises:
        InvalidRequestError: the model has no spatial maps, or is not flat.
    """
    network = cut_at_last_maps(["none"], [CutNetwork(None, model, model)])
    heats: list[list[NDArray[np.float32]]] = [[] for _ in choices]
    for start in range(0, len(pixels), GRAD_CAM_BATCH):
        batch = slice(start, start + GRAD_CAM_BATCH)
        maps = network.last_maps(tf.constant(pixels[batch], tf.float32))
        for parts, classes in zip(heats, choices, strict=True):
            parts.append(np.asarray(heatmaps(maps, classes[batch])))
    return [np.concatenate(parts) for parts in heats]


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


def _colour_matrix(model: Any, first: Any) -> NDArray[np.float32]:
    # Rows: red, green, blue; columns: the channels that the convolution sees.
    colours = np.concatenate([np.zeros((1, 3)), np.eye(3) * _PROBE])
    height, width = (side or 32 for side in model.input.shape[1:3])
    images = np.broadcast_to(colours[:, None, None], (4, height, width, 3))
    before = keras.Model(model.input, first.input)
    seen = before(images.astype(np.float32), training=False)
    plane = np.asarray(keras.ops.cast(seen, "float32"))
    # The middle, because padding may lie at the borders.
    middle = plane[:, plane.shape[1] // 2, plane.shape[2] // 2]
    return np.asarray((middle[1:] - middle[0]) / _PROBE, dtype=np.float32)


def _three(convolutions: list[Any]) -> list[Any]:
    last = len(convolutions) - 1
    return [convolutions[number] for number in sorted({0, last // 2, last})]


def _liveliest(
    answer: Any, channels: int
) -> tuple[NDArray[np.int64], NDArray[np.float32]]:
    plane = np.asarray(keras.ops.cast(answer, "float32"))[0]
    # Without the border, where channels answer to the padding and not to the photo.
    border = min(plane.shape[:2]) // 8
    inner = plane[border : plane.shape[0] - border, border : plane.shape[1] - border]
    order = np.argsort(-inner.std(axis=(0, 1)), kind="stable")[:channels]
    return order, plane[:, :, order].transpose(2, 0, 1)

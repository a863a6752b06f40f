"""What a network's convolutions make of a photo: early, in the middle, and last."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from export.report.network.layers import find_convolutions
from models.images.codec import Pixels

CHANNELS: Final = 4


@dataclass(frozen=True)
class LayerActivations:
    """The liveliest channels of one layer, for N photos.

    Attributes:
        channels: their numbers [N, c], the liveliest first.
        maps: what they answer [N, c, h, w], float32.
    """

    layer: str
    channels: NDArray[np.int64]
    maps: NDArray[np.float32]


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

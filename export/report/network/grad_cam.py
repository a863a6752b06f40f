"""Grad-CAM of a Keras network, for arrays; the mathematics is in `models.networks`."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from models.images.codec import Pixels
from models.networks.attention import cut_at_last_maps, heatmaps
from models.networks.freezing import CutNetwork

BATCH: Final = 8


def grad_cam(
    model: Any, pixels: Pixels, classes: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Heat [N, h, w], 0..1, for *classes* [N] in *pixels* [N, H, W, 3].

    Raises:
        InvalidRequestError: the model has no spatial maps, or is not flat.
    """
    return grad_cams(model, pixels, [classes])[0]


def grad_cams(
    model: Any, pixels: Pixels, choices: Sequence[NDArray[np.integer[Any]]]
) -> list[NDArray[np.float32]]:
    """`grad_cam` for several *choices* of classes; the maps are computed only once.

    Raises:
        InvalidRequestError: as `grad_cam`.
    """
    network = cut_at_last_maps(["none"], [CutNetwork(None, model, model)])
    heats: list[list[NDArray[np.float32]]] = [[] for _ in choices]
    for start in range(0, len(pixels), BATCH):
        batch = slice(start, start + BATCH)
        looks = network.look(tf.constant(pixels[batch], tf.float32))
        for parts, classes in zip(heats, choices, strict=True):
            parts.append(np.asarray(heatmaps(looks, classes[batch])))
    return [np.concatenate(parts) for parts in heats]

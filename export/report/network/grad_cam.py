"""Where in a photo a network sees a class: Grad-CAM.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", arXiv:1610.02391.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.report.network.layers import find_last_maps
from models.errors import InvalidRequestError
from models.images import Pixels

BATCH: Final = 8


def grad_cam(
    model: Any, pixels: Pixels, classes: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    """Heat [N, h, w], 0..1, for *classes* [N] in *pixels* [N, H, W, 3].

    The last spatial maps, weighted by the mean over space of the gradient of the
    class's logit (equations 1 and 2 of the paper), then ReLU; the hottest place of a
    photo is 1. Where nothing speaks for the class, all is 0. Other maps that the head
    looks at (features tapped further down) are held as they are.

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
    base, head = _cut(model, find_last_maps(model).output)
    heats: list[list[NDArray[np.float32]]] = [[] for _ in choices]
    for start in range(0, len(pixels), BATCH):
        batch = slice(start, start + BATCH)
        seen = keras.tree.flatten(
            base(pixels[batch].astype(np.float32), training=False)
        )
        for parts, classes in zip(heats, choices, strict=True):
            parts.append(_heat(head, seen, classes[batch]))
    return [np.concatenate(parts) for parts in heats]


def _cut(model: Any, maps: Any) -> tuple[Any, Any]:
    """The model in two: up to the maps and all else that the rest needs, and the rest.

    Without the cut, gradients would flow back through the whole base wherever the head
    also looks at maps further down: 7 s instead of milliseconds for six photos.
    """
    after = {id(maps)}
    beside: dict[int, Any] = {}
    for operation in model.operations:
        inputs = keras.tree.flatten(operation.input)
        if any(id(tensor) in after for tensor in inputs):
            beside |= {id(each): each for each in inputs if id(each) not in after}
            after |= {id(each) for each in keras.tree.flatten(operation.output)}
    if not after.issuperset(id(each) for each in model.outputs):
        message = (
            f"network {model.name!r} is not flat: give one that holds no other model "
            f"and whose layers are used in it alone"
        )
        raise InvalidRequestError(message)
    tensors = [maps, *beside.values()]
    rest = keras.Model(tensors if beside else maps, model.output)
    return keras.Model(model.input, tensors), rest


def _heat(
    head: Any, seen: Sequence[Any], classes: NDArray[np.integer[Any]]
) -> NDArray[np.float32]:
    maps, *others = seen
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(maps)
        logits = head([maps, *others] if others else maps, training=False)
        chosen = tf.gather(tf.cast(logits, tf.float32), classes, axis=1, batch_dims=1)
    gradients = tf.cast(tape.gradient(chosen, maps), tf.float32)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, tf.float32), axis=-1))
    hottest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return np.asarray(tf.math.divide_no_nan(heat, hottest), dtype=np.float32)

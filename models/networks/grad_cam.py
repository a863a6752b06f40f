"""Where in a photo a network sees a class: Grad-CAM, in TensorFlow's graph.

Selvaraju et al. 2017, "Grad-CAM: visual explanations from deep networks via
gradient-based localization", arXiv:1610.02391. Networks whose probabilities are averaged
(members, flipped views) have their heat averaged as well.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from models.networks.last_maps import Look
from models.networks.views import flip


def heatmaps(looks: Sequence[Look], classes: Any) -> Any:
    """Heat [N, h, w], 0..1, for *classes* [N], averaged over *looks*.

    The last spatial maps, weighted by the mean over space of the gradient of the
    class's logit (equations 1 and 2 of the paper), then ReLU; the hottest place of a
    photo is 1. Where nothing speaks for the class, all is 0. Other maps that the head
    looks at (features tapped further down) are held as they are.
    """
    heats = [flip(_heat(each, classes), each.view) for each in looks]
    return _hottest_is_one(tf.add_n(heats))


def _heat(look: Look, classes: Any) -> Any:
    maps, *others = look.seen
    with tf.GradientTape(watch_accessed_variables=False) as tape:
        tape.watch(maps)
        logits = tf.cast(look.head([maps, *others])[0], tf.float32)
        chosen = tf.gather(logits, classes, axis=1, batch_dims=1)
    gradients = tf.cast(tape.gradient(chosen, maps), tf.float32)
    # The square root in second-order pooling has no slope where its products are 0.
    gradients = tf.where(tf.math.is_finite(gradients), gradients, 0)
    weights = tf.reduce_mean(gradients, axis=(1, 2), keepdims=True)
    heat = tf.nn.relu(tf.reduce_sum(weights * tf.cast(maps, tf.float32), axis=-1))
    return _hottest_is_one(heat)


def _hottest_is_one(heat: Any) -> Any:
    hottest = tf.reduce_max(heat, axis=(1, 2), keepdims=True)
    return tf.math.divide_no_nan(heat, hottest)

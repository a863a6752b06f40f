"""Second-order pooling: which channels answer together, wherever they do.

The mean over all positions of the outer product of the channels, its signed square root
(Lin, RoyChowdhury and Maji 2015, arXiv:1504.07889: bilinear pooling of one network). It
sees textures and faint lines that means and maxima of single channels miss.
"""

from __future__ import annotations

from typing import Any

import keras
import numpy as np


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

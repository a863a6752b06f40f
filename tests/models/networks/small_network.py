"""A small trained-looking network for tests: 8 x 8 RGB to three logits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.networks.runtime import start_tensorflow


def build_small_network(seed: int = 1) -> Any:
    start_tensorflow()
    import keras

    keras.utils.set_random_seed(seed)
    pixels = keras.Input((8, 8, 3), name="pixels")
    maps = keras.layers.Conv2D(4, 3, activation="relu", name="conv1")(pixels)
    values = keras.layers.Flatten(name="flatten")(maps)
    values = keras.layers.Dense(6, activation="relu", name="fc1")(values)
    values = keras.layers.Dropout(0.5, name="fc1_dropout")(values)
    return keras.Model(
        pixels, keras.layers.Dense(3, name="logits")(values), name="small"
    )


def random_pixels(count: int, size: int = 8, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    return generator.integers(0, 256, (count, size, size, 3)).astype(np.float32)

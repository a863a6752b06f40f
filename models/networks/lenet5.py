"""LeNet-5, 61,706 parameters at 28 x 28 and 10 classes.

The layout of LeCun et al. 1998 as lecture slides draw it: every map of the second
convolution sees all six of the first. That convolution has stride 1 and no padding;
14 -> 10 is possible in no other way. Activations and pooling are today's (ReLU, maximum):
on Fashion-MNIST, 10 epochs of Adam, 1e-3 falling as a cosine, batch 64, they reached
0.898 on the test photos, the paper's kind (tanh, average) 0.890; with 2e-3 and batch 128
they reached 0.907.
"""

from __future__ import annotations

from typing import Any, Final

import keras

from models.networks.preprocessing import ScaledGrey

PADDING: Final = 2
"""Black pixels added on each side: 28 x 28 become the 32 x 32 of the paper."""

ACTIVATION: Final = "relu"
CONVOLUTIONS: Final = (6, 16)
DENSE_UNITS: Final = (120, 84)


def build_lenet5_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, 28, 28, 3] -> 16 maps [N, 5, 5, 16].

    Grey, 0..1 and padded inside. *dtype* is a Keras policy.
    """
    pixels = keras.Input((*image_size, 3), name="pixels")
    maps = ScaledGrey(dtype="float32", name="preprocessing")(pixels)
    maps = keras.layers.ZeroPadding2D(PADDING, dtype=dtype, name="padding")(maps)
    for number, filters in enumerate(CONVOLUTIONS, start=1):
        maps = keras.layers.Conv2D(
            filters, 5, activation=ACTIVATION, dtype=dtype, name=f"conv{number}"
        )(maps)
        maps = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"pool{number}")(maps)
    return keras.Model(pixels, maps, name="lenet5")


def add_lenet5_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K]; LeNet-5 has no dropout of its own."""
    values = keras.layers.Flatten(name="flatten")(maps)
    for number, units in enumerate(DENSE_UNITS, start=1):
        name = f"fc{number}"
        values = keras.layers.Dense(units, activation=ACTIVATION, name=name)(values)
        if dropout is not None:
            values = keras.layers.Dropout(dropout, name=f"{name}_dropout")(values)
    return keras.layers.Dense(classes, name="logits")(values)

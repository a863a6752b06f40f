"""Small networks that learn from scratch: LeNet-5, and those of the fast.ai course.

| name     | described in                            | convolutions       | dense    |
|----------|-----------------------------------------|--------------------|----------|
| lenet5   | LeCun et al. 1998                       | 6, 16              | 120, 84  |
| conv1    | fast.ai course, State Farm notebooks    | 32, 64             | 200      |
| conv3    | the same, "more layers"                 | 32, 64, 128        | 200, 200 |
| mnist-bn | fast.ai course, MNIST notebook          | 32, 32, 64, 64     | 512      |

LeNet-5 has 61,706 parameters at 28 x 28 and 10 classes. The layout of LeCun et al. 1998 as
lecture slides draw it: every map of the second convolution sees all six of the first. That
convolution has stride 1 and no padding; 14 -> 10 is possible in no other way. Activations
and pooling are today's (ReLU, maximum): on Fashion-MNIST, 10 epochs of Adam, 1e-3 falling
as a cosine, batch 64, they reached 0.898 on the test photos, the paper's kind (tanh,
average) 0.890; with 2e-3 and batch 128 they reached 0.907.

The course's networks have batch normalisation and convolutions of 3 x 3 without padding.
Departure: pixels are scaled to -1..1 before anything else, because the notebooks' first
layer (batch normalisation of 0..255, or the data set's own mean) needs many steps, or the
data, before it is right. On Fashion-MNIST mnist-bn reached 0.9227 on the test photos:
5 epochs of Adam, 1e-3 falling as a cosine, batch 128, dropout 0.5.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

import keras

LUMA: Final = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601, as Pillow's "L")."""

LENET5_PADDING: Final = 2
"""Black pixels added on each side: 28 x 28 become the 32 x 32 of the paper."""

LENET5_ACTIVATION: Final = "relu"
LENET5_CONVOLUTIONS: Final = (6, 16)
LENET5_DENSE_UNITS: Final = (120, 84)


@keras.saving.register_keras_serializable(package="kennel")
class ScaledGrey(keras.layers.Layer):  # type: ignore[misc]
    """RGB pixels 0..255 [N, H, W, 3] -> grey 0..1 [N, H, W, 1]."""

    def call(self, pixels: Any) -> Any:
        """Weigh red, green and blue by `LUMA`; a grey photo keeps its values."""
        shares = keras.ops.convert_to_tensor(LUMA, dtype=pixels.dtype)
        return keras.ops.sum(pixels * shares, axis=-1, keepdims=True) / 255

    def compute_output_shape(self, input_shape: Any) -> Any:
        """One channel is left."""
        return (*input_shape[:-1], 1)


def build_lenet5_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, 28, 28, 3] -> 16 maps [N, 5, 5, 16].

    Grey, 0..1 and padded inside. *dtype* is a Keras policy.
    """
    pixels = keras.Input((*image_size, 3), name="pixels")
    maps = ScaledGrey(dtype="float32", name="preprocessing")(pixels)
    maps = keras.layers.ZeroPadding2D(LENET5_PADDING, dtype=dtype, name="padding")(maps)
    for number, filters in enumerate(LENET5_CONVOLUTIONS, start=1):
        maps = keras.layers.Conv2D(
            filters, 5, activation=LENET5_ACTIVATION, dtype=dtype, name=f"conv{number}"
        )(maps)
        maps = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"pool{number}")(maps)
    return keras.Model(pixels, maps, name="lenet5")


def add_lenet5_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K]; LeNet-5 has no dropout of its own."""
    values = keras.layers.Flatten(name="flatten")(maps)
    for number, units in enumerate(LENET5_DENSE_UNITS, start=1):
        name = f"fc{number}"
        values = keras.layers.Dense(units, activation=LENET5_ACTIVATION, name=name)(
            values
        )
        if dropout is not None:
            values = keras.layers.Dropout(dropout, name=f"{name}_dropout")(values)
    return keras.layers.Dense(classes, name="logits")(values)


CONV3_DROPOUT: Final = 0.5
MNIST_DROPOUT: Final = 0.5


def build_conv1_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, H, W, 3] -> 64 maps; two convolutions, maxima of 3 x 3."""
    return _build_normalised_base("conv1", image_size, dtype, (32, 64), pool=3)


def add_conv1_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K] through 200 units; no dropout of its own."""
    values = keras.layers.Flatten(name="flatten")(maps)
    return _add_logits(_add_dense(values, (200,), dropout), classes)


def build_conv3_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, H, W, 3] -> 128 maps; three convolutions, maxima of 2 x 2."""
    return _build_normalised_base("conv3", image_size, dtype, (32, 64, 128), pool=2)


def add_conv3_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K] through twice 200 units, each with dropout (0.5)."""
    rate = CONV3_DROPOUT if dropout is None else dropout
    values = keras.layers.Flatten(name="flatten")(maps)
    return _add_logits(_add_dense(values, (200, 200), rate), classes)


def build_mnist_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, H, W, 3] -> 64 maps; two pairs of convolutions."""
    pixels = keras.Input((*image_size, 3), name="pixels")
    maps = _scale(pixels)
    for block, filters in enumerate((32, 64), start=1):
        for number in (1, 2):
            name = f"block{block}_conv{number}"
            maps = _convolve(maps, filters, name, dtype)
            if number == 1:
                maps = _normalise(maps, f"{name}_bn", dtype)
        maps = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"block{block}_pool")(
            maps
        )
        if block == 1:
            maps = _normalise(maps, "block1_bn", dtype)
    return keras.Model(pixels, maps, name="mnist-bn")


def add_mnist_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Maps -> logits [N, K] through 512 units with dropout (0.5)."""
    rate = MNIST_DROPOUT if dropout is None else dropout
    values = keras.layers.Flatten(name="flatten")(maps)
    values = _normalise(values, "flatten_bn", "float32")
    return _add_logits(_add_dense(values, (512,), rate), classes)


def _build_normalised_base(
    name: str,
    image_size: tuple[int, int],
    dtype: str,
    filters: Sequence[int],
    pool: int,
) -> Any:
    pixels = keras.Input((*image_size, 3), name="pixels")
    maps = _normalise(_scale(pixels), "pixels_bn", "float32")
    for number, count in enumerate(filters, start=1):
        maps = _convolve(maps, count, f"conv{number}", dtype)
        maps = _normalise(maps, f"conv{number}_bn", dtype)
        maps = keras.layers.MaxPooling2D(pool, dtype=dtype, name=f"pool{number}")(maps)
    return keras.Model(pixels, maps, name=name)


def _scale(pixels: Any) -> Any:
    return keras.layers.Rescaling(
        1 / 127.5, offset=-1, dtype="float32", name="preprocessing"
    )(pixels)


def _convolve(maps: Any, filters: int, name: str, dtype: str) -> Any:
    return keras.layers.Conv2D(filters, 3, activation="relu", dtype=dtype, name=name)(
        maps
    )


def _normalise(values: Any, name: str, dtype: str) -> Any:
    return keras.layers.BatchNormalization(dtype=dtype, name=name)(values)


def _add_dense(values: Any, hidden: Sequence[int], dropout: float | None) -> Any:
    for number, units in enumerate(hidden, start=1):
        name = f"fc{number}"
        values = keras.layers.Dense(units, activation="relu", name=name)(values)
        values = _normalise(values, f"{name}_bn", "float32")
        if dropout is not None:
            values = keras.layers.Dropout(dropout, name=f"{name}_dropout")(values)
    return values


def _add_logits(values: Any, classes: int) -> Any:
    return keras.layers.Dense(classes, name="logits")(values)

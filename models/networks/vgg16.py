"""VGG16's convolutional base, preprocessing included.

13 convolutions of 3 x 3 in five blocks, each ending in a 2 x 2 maximum (Simonyan and
Zisserman 2014, configuration D). Layer names are Keras's, so that its weight files fit.
"""

from __future__ import annotations

from typing import Any, Final

import keras

BLOCKS: Final = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and filters of each block."""

IMAGENET_MEANS_BGR: Final = (103.939, 116.779, 123.68)
"""What the published weights expect to be subtracted ("caffe" mode)."""


def convolution_layer_names() -> list[str]:
    """block1_conv1 ... block5_conv3, in order."""
    return [
        f"block{block}_conv{number}"
        for block, (count, _) in enumerate(BLOCKS, start=1)
        for number in range(1, count + 1)
    ]


def build_vgg16_base(image_size: tuple[int, int], dtype: str = "float32") -> Any:
    """RGB pixels 0..255 [N, H, W, 3] -> block 5's pooled maps [N, H/32, W/32, 512].

    *dtype* is a Keras policy: "float32", or "mixed_bfloat16" for speed.
    """
    pixels = keras.Input((*image_size, 3), name="pixels")
    maps = _preprocess(pixels)
    for block, (count, filters) in enumerate(BLOCKS, start=1):
        for number in range(1, count + 1):
            maps = keras.layers.Conv2D(
                filters,
                3,
                padding="same",
                activation="relu",
                dtype=dtype,
                name=f"block{block}_conv{number}",
            )(maps)
        maps = keras.layers.MaxPooling2D(2, dtype=dtype, name=f"block{block}_pool")(
            maps
        )
    return keras.Model(pixels, maps, name="vgg16")


def _preprocess(pixels: Any) -> Any:
    means = keras.ops.convert_to_tensor(IMAGENET_MEANS_BGR, dtype="float32")
    return keras.ops.flip(pixels, axis=-1) - means

"""VGG16, preprocessing included; the other networks of keras.applications share that layer.

13 convolutions of 3 x 3 in five blocks, each ending in a 2 x 2 maximum, then three dense
layers (Simonyan and Zisserman 2014, configuration D): 138,357,544 parameters at 224 x 224
and 1,000 classes. Layer names are Keras's, so that its weight files fit.
"""

from __future__ import annotations

from typing import Any, Final

import keras

BLOCKS: Final = ((2, 64), (2, 128), (3, 256), (3, 512), (3, 512))
"""Convolutions and filters of each block."""

DENSE_LAYERS: Final = ("fc1", "fc2")
DENSE_UNITS: Final = 4096
VGG16_DROPOUT: Final = 0.5
IMAGENET_CLASSES: Final = 1000


def convolution_layer_names() -> list[str]:
    """The names of the convolutions in order: block1_conv1 ... block5_conv3."""
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
    maps = ApplicationPreprocessing("vgg16", name="preprocessing")(pixels)
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


def add_vgg16_top(maps: Any, classes: int, dropout: float | None = None) -> Any:
    """Block 5's maps -> logits [N, K], through fc1 and fc2, each followed by dropout.

    The paper has that dropout (0.5, kept here when *dropout* is None);
    keras.applications leaves it out.
    """
    return keras.layers.Dense(classes, name="logits")(add_vgg16_dense(maps, dropout))


def add_vgg16_predictions(maps: Any) -> Any:
    """Block 5's maps -> probabilities of ImageNet's 1,000 classes, float32 [N, 1000].

    The last layer is called "predictions", as in Keras's weight file.
    """
    return keras.layers.Dense(
        IMAGENET_CLASSES, activation="softmax", name="predictions"
    )(add_vgg16_dense(maps, None))


def add_vgg16_dense(
    maps: Any, dropout: float | None, *, normalised: bool = False
) -> Any:
    """Block 5's maps -> fc2's output [N, 4096], dropout included.

    *normalised*: with batch normalisation after fc1 and fc2, as fast.ai's Vgg16BN.
    """
    rate = VGG16_DROPOUT if dropout is None else dropout
    values = keras.layers.Flatten(name="flatten")(maps)
    for name in DENSE_LAYERS:
        values = keras.layers.Dense(DENSE_UNITS, activation="relu", name=name)(values)
        if normalised:
            values = keras.layers.BatchNormalization(name=f"{name}_bn")(values)
        values = keras.layers.Dropout(rate, name=f"{name}_dropout")(values)
    return values


@keras.saving.register_keras_serializable(package="kennel")
class ApplicationPreprocessing(keras.layers.Layer):  # type: ignore[misc]
    """RGB pixels 0..255 as the networks of one keras.applications module expect them.

    It is part of the graph, so that no client can do it wrongly or twice.
    "vgg16" turns RGB into BGR and subtracts ImageNet's means; others scale to -1..1, or
    leave the pixels alone because their network scales itself.
    """

    def __init__(self, application: str, **options: Any) -> None:
        """*application*: a module of keras.applications, for example "resnet50"."""
        # In half precision 255 levels are too many: 8 bits of mantissa end at 256.
        super().__init__(**{**options, "dtype": "float32"})
        self.application = application
        self.trainable = False

    def call(self, pixels: Any) -> Any:
        """Pixels [N, H, W, 3] -> the same shape, float32."""
        module = getattr(keras.applications, self.application)
        return module.preprocess_input(pixels, data_format="channels_last")

    def compute_output_shape(self, input_shape: Any) -> Any:
        """The shape stays as it is."""
        return input_shape

    def get_config(self) -> dict[str, Any]:
        """The layer's options, as Keras writes them into a saved model."""
        config: dict[str, Any] = super().get_config()
        return {**config, "application": self.application}

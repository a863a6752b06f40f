"""What happens to pixels inside the graph, so that no client can do it wrongly or twice.

Both layers are registered with Keras: import this module before a saved network is
loaded (`models.networks.registry` does).
"""

from __future__ import annotations

from typing import Any, Final

import keras

LUMA: Final = (0.299, 0.587, 0.114)
"""Share of red, green and blue in grey (ITU-R BT.601, as Pillow's "L")."""


@keras.saving.register_keras_serializable(package="kennel")
class ApplicationPreprocessing(keras.layers.Layer):  # type: ignore[misc]
    """RGB pixels 0..255 as the networks of one keras.applications module expect them.

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
        """What Keras writes into a saved model."""
        config: dict[str, Any] = super().get_config()
        return {**config, "application": self.application}


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

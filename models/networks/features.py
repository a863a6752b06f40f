"""From pixels to a vector of features: a network's base, tapped and pooled."""

from __future__ import annotations

from collections.abc import Sequence
from types import MappingProxyType
from typing import Any, Final

import keras
import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.images import Pixels
from models.networks.vgg16 import build_vgg16_base, convolution_layer_names
from models.networks.weights import PretrainedWeights

POLICIES: Final = MappingProxyType({"float32": "float32", "bfloat16": "mixed_bfloat16"})
"""The Keras policy of each precision that users can name."""


def build_features(
    taps: Sequence[str],
    image_size: tuple[int, int],
    weights: PretrainedWeights | None,
    dtype: str = "float32",
) -> Any:
    """VGG16 up to the layers named in *taps*, each averaged and maximised over space.

    RGB pixels 0..255 [N, H, W, 3] -> float32 [N, F]. Weights None leaves them random.

    Raises:
        DatasetError: the weights lack a layer, or one has another shape.
    """
    base = build_vgg16_base(image_size, dtype)
    if weights is not None:
        _set_weights(base, weights)
    vectors = []
    for tap in taps:
        maps = keras.layers.Activation("linear", dtype="float32", name=f"{tap}_tap")(
            base.get_layer(tap).output
        )
        vectors.append(keras.layers.GlobalAveragePooling2D(name=f"{tap}_mean")(maps))
        vectors.append(keras.layers.GlobalMaxPooling2D(name=f"{tap}_max")(maps))
    features = keras.layers.Concatenate(name="features", dtype="float32")(vectors)
    model = keras.Model(base.input, features, name="vgg16_features")
    model.trainable = False
    return model


def compute_features(features: Any, pixels: Pixels) -> NDArray[np.float32]:
    """[N, H, W, 3] uint8 -> [N, F] float32, one batch."""
    batch = keras.ops.convert_to_tensor(pixels.astype(np.float32))
    return np.asarray(features.predict_on_batch(batch), dtype=np.float32)


def _set_weights(base: Any, weights: PretrainedWeights) -> None:
    for name in convolution_layer_names():
        layer = base.get_layer(name)
        if name not in weights.layers:
            raise DatasetError(f"{weights.source} has no weights for {name}")
        found = [array.shape for array in weights.layers[name]]
        wanted = [tuple(each.shape) for each in layer.weights]
        if found != wanted:
            message = (
                f"{weights.source}: {name} has shapes {found}, needed are {wanted}"
            )
            raise DatasetError(message)
        layer.set_weights(list(weights.layers[name]))

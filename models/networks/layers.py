"""Keras layers: our own preprocessing, and a network's layers found, renamed, copied, added.

Preprocessing is part of the graph, so that no client can do it wrongly or twice. Its layers
are registered with Keras: import this module before a saved network is loaded
(`models.networks.registry` does).
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any, Final

import keras

from models.errors import InvalidRequestError

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
        """The layer's options, as Keras writes them into a saved model."""
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


def layers_with_weights(
    model: Any, names: Collection[str] | None = None
) -> dict[str, Any]:
    """The layers of *model* that hold weights, by name and in order.

    A block of layers (ConvNeXt has some) counts as its layers. With *names*, only the
    layers and blocks of these names.
    """
    found: dict[str, Any] = {}
    for layer in model.layers:
        if names is not None and layer.name not in names:
            continue
        if hasattr(layer, "layers"):
            found |= layers_with_weights(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found


def copy_weights(source: Any, target: Any) -> None:
    """Give the layers of *target* the weights of *source*'s layers of the same name."""
    copies = layers_with_weights(target)
    for name, layer in layers_with_weights(source).items():
        copies[name].set_weights(layer.get_weights())


def with_stable_names(model: Any) -> Any:
    """*model*, with its automatically named layers numbered from 1: "conv2d_1".

    Keras numbers them over the life of the process, so names would depend on what was built
    before.
    """
    counts: dict[str, int] = {}
    for layer in model.layers:
        kind = _snake_case(type(layer).__name__)
        if re.fullmatch(rf"{kind}(_\d+)?", layer.name):
            counts[kind] = counts.get(kind, 0) + 1
            layer.name = f"{kind}_{counts[kind]}"
    return model


def _snake_case(name: str) -> str:
    words = re.sub(r"(.)([A-Z][a-z0-9]+)", r"\1_\2", re.sub(r"\W+", "", name))
    return re.sub(r"([a-z])([A-Z])", r"\1_\2", words).lower()


def insert_layers(model: Any, after: Mapping[str, Any]) -> Any:
    """A copy of *model* with a new layer after each layer named in *after*.

    *model* is functional; its weights are copied, the new layers keep their own.

    Raises:
        InvalidRequestError: there is no layer of such a name; the message lists the names.
    """
    known = [layer.name for layer in model.layers]
    for name in after:
        if name not in known:
            message = f"no layer {name!r} in {model.name}: there are {', '.join(known)}"
            raise InvalidRequestError(message)

    def call(layer: Any, *arguments: Any, **options: Any) -> Any:
        output = layer(*arguments, **options)
        return after[layer.name](output) if layer.name in after else output

    changed = keras.models.clone_model(model, call_function=call)
    copy_weights(model, changed)
    return changed

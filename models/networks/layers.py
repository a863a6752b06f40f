"""The layers of a network that hold weights, one by one."""

from __future__ import annotations

from typing import Any


def layers_with_weights(model: Any) -> dict[str, Any]:
    """By name and in order; a block of layers (ConvNeXt has some) counts as its layers."""
    found: dict[str, Any] = {}
    for layer in model.layers:
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

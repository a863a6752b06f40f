"""Pretrained weights put into a network: all that are needed, or none and the reason."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Final, TypeAlias

from models.errors import DatasetError
from models.networks.layers import layers_with_weights
from models.networks.weights import PretrainedWeights

LISTED: Final = 6
"""Layers that an error message shows of each list."""

Shapes: TypeAlias = Mapping[str, tuple[tuple[int, ...], ...]]
"""Shapes of each layer's weights, by layer name."""


def apply_weights(
    model: Any, weights: PretrainedWeights, needed_layers: Collection[str] | None = None
) -> None:
    """Put *weights* into the layers of *model* that are called as in *needed_layers*.

    None: every layer with weights. Layers without any may be among them. Where names
    differ but the file keeps the network's order and all shapes fit, order decides.

    Raises:
        DatasetError: a layer is missing or has other shapes; both lists are in the
            message, and no weight was changed.
    """
    layers = _needed(model, needed_layers)
    needed = {name: _shapes(layer.weights) for name, layer in layers.items()}
    found = {name: _shapes(arrays) for name, arrays in weights.layers.items()}
    names = _match(needed, found, weights.ordered)
    if names is None:
        raise DatasetError(_difference(model.name, weights.source, needed, found))
    for name, layer in layers.items():
        layer.set_weights(list(weights.layers[names[name]]))


def _needed(model: Any, names: Collection[str] | None) -> dict[str, Any]:
    if names is None:
        return layers_with_weights(model)
    found: dict[str, Any] = {}
    for layer in model.layers:
        if layer.name not in names:
            continue
        if hasattr(layer, "layers"):
            found |= layers_with_weights(layer)
        elif layer.weights:
            found[layer.name] = layer
    return found


def _shapes(weights: Any) -> tuple[tuple[int, ...], ...]:
    return tuple(tuple(each.shape) for each in weights)


def _match(needed: Shapes, found: Shapes, ordered: bool) -> Mapping[str, str] | None:
    if all(found.get(name) == shapes for name, shapes in needed.items()):
        return {name: name for name in needed}
    with_weights = [name for name, shapes in found.items() if shapes]
    pairs = dict(zip(needed, with_weights, strict=False))
    fits = len(pairs) == len(needed) and all(
        needed[name] == found[other] for name, other in pairs.items()
    )
    return pairs if ordered and fits else None


def _difference(network: str, source: str, needed: Shapes, found: Shapes) -> str:
    missing = [name for name in needed if name not in found]
    other = [
        f"{name} has {_text(found[name])}, needed {_text(shapes)}"
        for name, shapes in needed.items()
        if name in found and found[name] != shapes
    ]
    parts = [
        f"{source} does not fit {network}: use weights of that network",
        f"needed are {_list([f'{n} {_text(s)}' for n, s in needed.items()])}",
        f"found were {_list([f'{n} {_text(s)}' for n, s in found.items()])}",
    ]
    if missing:
        parts.append(f"missing: {_list(missing)}")
    if other:
        parts.append(f"of other shape: {_list(other)}")
    return "; ".join(parts)


def _text(shapes: tuple[tuple[int, ...], ...]) -> str:
    return "+".join("x".join(map(str, shape)) or "1" for shape in shapes)


def _list(entries: list[str]) -> str:
    more = len(entries) - LISTED
    shown = ", ".join(entries[:LISTED]) or "none"
    return f"{shown} and {more} more" if more > 0 else shown

"""A copy of a network with layers put in; every weight is copied by name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import keras

from models.errors import InvalidRequestError
from models.networks.layers import copy_weights


def insert_layers(model: Any, after: Mapping[str, Any]) -> Any:
    """A copy of *model* with a new layer after each layer named in *after*.

    *model* is functional; its weights are copied, the new layers keep their own.

    Raises:
        InvalidRequestError: there is no layer of such a name; it names those there are.
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

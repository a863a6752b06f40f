"""Layer names that do not depend on what a process has built before."""

from __future__ import annotations

import re
from typing import Any


def with_stable_names(model: Any) -> Any:
    """*model*, its automatically named layers counted anew from the first: "conv2d_1".

    Keras counts them over the life of the process, so names would depend on what was
    built before.
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

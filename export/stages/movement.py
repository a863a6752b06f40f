"""After a stage: exactly the weights that it trains have moved.

Several of the course's notebooks "trained" layers that stood still, and nobody noticed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError, quoted_names


def check_moved(model: Any, before: Sequence[NDArray[Any]]) -> None:
    """Compare with the weights *before*: exactly the trained layers' have changed.

    Raises:
        DatasetError: it names those that should have moved, or should not have.
    """
    still, moved = [], []
    for variable, old, new in zip(
        model.weights, before, model.get_weights(), strict=True
    ):
        changed = not np.array_equal(old, new)
        if variable.trainable and not changed:
            still.append(variable.path)
        if changed and not _belongs_to_trained_layer(model, variable):
            moved.append(variable.path)
    if still:
        raise DatasetError(
            f"training moved no weight of {quoted_names(still)}: either all photos are "
            "the same, or --learning-rate is too small, or what these layers see is 0 for "
            "every photo, as behind frozen layers with random weights (--weights none)"
        )
    if moved:
        raise DatasetError(f"training moved frozen weights: {quoted_names(moved)}")


def _belongs_to_trained_layer(model: Any, variable: Any) -> bool:
    return any(
        layer.trainable and any(each is variable for each in layer.weights)
        for layer in model.layers
    )

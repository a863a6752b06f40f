"""A trained network with another rate of dropout, for one that under- or overfits.

Weights stay as they are. Keras's dropout is inverted: while training it scales what it
keeps by 1 / (1 - rate), so every rate expects the same weights. (Halving them, as was
right for classical dropout, would change the answers.)
"""

from __future__ import annotations

from typing import Any

import keras

from models.errors import InvalidRequestError
from models.networks.insertion import change_layers


def with_dropout(model: Any, rate: float) -> Any:
    """A copy of *model* whose Dropout layers all have this *rate*; 0: without dropout.

    The weights are the same, and so is every answer outside training.

    Raises:
        InvalidRequestError: the rate is not in [0, 1).
    """
    if not 0 <= rate < 1:
        message = f"dropout={rate:g} is not possible: use a number from 0 to below 1"
        raise InvalidRequestError(message)

    def change(layer: Any) -> Any:
        config = layer.get_config()
        if isinstance(layer, keras.layers.Dropout):
            config["rate"] = rate
        return type(layer).from_config(config)

    return change_layers(model, change)

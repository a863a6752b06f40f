"""Optimizers and the learning rate of each epoch, by the names that recipes use."""

from __future__ import annotations

import math
from typing import Any

import keras

from export.recipes.catalogue import Recipe, Stage
from models.errors import InvalidRequestError


def learning_rate(stage: Stage, epoch: int) -> float:
    """The learning rate of *epoch* (from 1).

    "cosine": half a cosine from the stage's rate down to zero after the last epoch
    (Loshchilov and Hutter 2017, arXiv:1608.03983, without restarts).

    Raises:
        InvalidRequestError: no such schedule.
    """
    if stage.schedule == "constant":
        return stage.learning_rate
    if stage.schedule == "cosine":
        done = (epoch - 1) / stage.epochs
        return stage.learning_rate * 0.5 * (1 + math.cos(math.pi * done))
    message = f"no schedule {stage.schedule!r}: choose constant or cosine"
    raise InvalidRequestError(message)


def build_optimizer(recipe: Recipe, stage: Stage) -> Any:
    """The Keras optimizer that *stage* names.

    Raises:
        InvalidRequestError: Keras has none of that name.
    """
    settings: dict[str, Any] = {"learning_rate": stage.learning_rate}
    if stage.optimizer == "adamw":
        settings["weight_decay"] = recipe.weight_decay
    if stage.optimizer == "sgd":
        settings["momentum"] = 0.9
    try:
        return keras.optimizers.get({"class_name": stage.optimizer, "config": settings})
    except (ValueError, TypeError) as error:
        message = (
            f"no optimizer {stage.optimizer!r}: use adamw, adam, rmsprop, sgd or "
            "another of Keras's"
        )
        raise InvalidRequestError(message) from error

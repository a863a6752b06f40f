"""From features to logits: the part that is trained."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import keras


def build_head(
    features: int, classes: int, hidden: Sequence[int], dropout: float
) -> Any:
    """[N, F] -> logits [N, K]: batch normalisation and dropout before each Dense.

    Dropout is Keras's inverted one: weights need no rescaling when its rate changes.
    """
    layers: list[Any] = [keras.Input((features,), name="features")]
    for units in hidden:
        layers += _regularised(dropout)
        layers.append(keras.layers.Dense(units, activation="relu"))
    layers += _regularised(dropout)
    layers.append(keras.layers.Dense(classes, name="logits"))
    return keras.Sequential(layers, name="head")


def _regularised(dropout: float) -> list[Any]:
    return [keras.layers.BatchNormalization(), keras.layers.Dropout(dropout)]

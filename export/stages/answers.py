"""What a model says of examples: logits, and how good they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.stages.examples import Arrays, Examples, batches
from models.probabilities import log_loss, softmax

VALIDATION_BATCH = 128


def evaluate(model: Any, examples: Examples) -> tuple[float, float]:
    """(log loss, accuracy) of *model* on *examples*, for their likeliest labels."""
    logits = predict_logits(model, examples)
    classes = examples.targets.argmax(axis=1)
    right = logits.argmax(axis=1) == classes
    return log_loss(softmax(logits), classes), float(right.mean())


def predict_logits(model: Any, examples: Examples) -> NDArray[np.float32]:
    """Logits [N, K] of all *examples*, in their order."""
    order = np.arange(len(examples.targets))
    parts = [
        np.asarray(model.predict_on_batch(unwrap(inputs)), np.float32)
        for inputs, _ in batches(examples, order, VALIDATION_BATCH, epoch=0)
    ]
    return np.concatenate(parts)


def unwrap(inputs: Arrays) -> Any:
    """*inputs* as Keras wants them: a list only for several."""
    # Keras warns where a list of one array meets a model with one input.
    return inputs[0] if len(inputs) == 1 else inputs

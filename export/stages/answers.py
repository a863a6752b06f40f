"""What a model says of examples: logits, and how good they are."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.stages.examples import Arrays, Examples, batches
from models.probabilities import accuracy, log_loss, softmax

VALIDATION_BATCH = 128


def evaluate(model: Any, examples: Examples) -> tuple[float, float]:
    """(log loss, accuracy) of *model* on *examples*, for their likeliest labels."""
    return judge(predict_logits(model, examples), examples.targets)


def judge(
    logits: NDArray[np.float32], targets: NDArray[np.float32]
) -> tuple[float, float]:
    """(log loss, accuracy) of *logits* [N, K] for the likeliest labels of *targets*."""
    with np.errstate(invalid="ignore"):  # the caller checks that the loss is finite
        probabilities = softmax(logits)
    classes = targets.argmax(axis=1)
    return log_loss(probabilities, classes), accuracy(probabilities, classes)


def predict_logits(model: Any, examples: Examples) -> NDArray[np.float32]:
    """Logits [N, K] of all *examples*, in their order."""
    return predict(model, examples, np.arange(len(examples.targets)), VALIDATION_BATCH)


def predict(
    model: Any, examples: Examples, rows: NDArray[np.integer], batch_size: int
) -> NDArray[np.float32]:
    """What *model* answers to those *rows* of *examples*, in their order."""
    parts = [
        np.asarray(model.predict_on_batch(unwrap(inputs)), np.float32)
        for inputs, _ in batches(examples, rows, batch_size, epoch=0)
    ]
    return np.concatenate(parts)


def unwrap(inputs: Arrays) -> Any:
    """*inputs* as Keras wants them: a list only for several."""
    # Keras warns where a list of one array meets a model with one input.
    return inputs[0] if len(inputs) == 1 else inputs

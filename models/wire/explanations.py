"""Explanations on the wire: where in each photo a model sees a class."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.contract import (
    CLASSES_OUTPUT,
    HEATMAPS_OUTPUT,
    MAX_BATCH_SIZE,
    MOST_PROBABLE,
)
from models.errors import ModelContractError
from models.wire.answers import effective_version, read_output, read_rows


@dataclass(frozen=True)
class Explanation:
    """What `ModelServerClient.explain` answers for N images.

    Attributes:
        heatmaps: float32 [N, h, w], 0..1; the hottest place of an image is 1, or all is 0
            where nothing speaks for the class.
        probabilities: float32 [N, K], as of a prediction; so are *logits*.
        classes: int32 [N], the columns that were explained.
        version: the version that answered.
    """

    heatmaps: NDArray[np.float32]
    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    classes: NDArray[np.int32]
    version: int


def check_classes(classes: NDArray[np.int32], count: int) -> None:
    """Accept *classes* to be explained for *count* images.

    Raises:
        ModelContractError: another number of them, other values, or too many.
    """
    if classes.dtype != np.int32 or classes.shape != (count,):
        message = f"classes are int32 [{count}], not {classes.dtype} {classes.shape}"
        raise ModelContractError(message)
    if count > MAX_BATCH_SIZE:
        message = f"{count} images to explain, {MAX_BATCH_SIZE} go into one call"
        raise ModelContractError(message)
    if classes.min() < MOST_PROBABLE:
        raise ModelContractError(f"{classes.min()} is no class")


def read_explanation(
    response: Any, asked: NDArray[np.int32], model: object
) -> Explanation:
    """What a PredictResponse of *model* says of the classes *asked*.

    Raises:
        ModelContractError: it is not what the contract says.
    """
    probabilities, logits = read_rows(response, len(asked), model)
    explanation = Explanation(
        heatmaps=read_output(response, HEATMAPS_OUTPUT),
        probabilities=probabilities,
        logits=logits,
        classes=read_output(response, CLASSES_OUTPUT),
        version=effective_version(response),
    )
    check_explanation(explanation, asked)
    return explanation


def check_explanation(explanation: Explanation, asked: NDArray[np.int32]) -> None:
    """Accept an answer for the classes *asked*; probabilities were checked before.

    Raises:
        ModelContractError: it is not what the contract says.
    """
    heat, classes = explanation.heatmaps, explanation.classes
    best = explanation.probabilities.argmax(axis=1)
    if not np.array_equal(classes, np.where(asked == MOST_PROBABLE, best, asked)):
        message = (
            f"asked to explain {_shown(asked)}, the answer is on {_shown(classes)}"
        )
        raise ModelContractError(message)
    if heat.ndim != 3 or len(heat) != len(classes) or not heat.size:
        message = f"the heat is {heat.shape} for {len(classes)} images"
        raise ModelContractError(message)
    if not np.isfinite(heat).all() or heat.min() < 0 or heat.max() > 1 + 1e-6:
        raise ModelContractError("the heat has values outside 0 to 1")


def _shown(classes: NDArray[Any]) -> str:
    return ", ".join(str(each) for each in classes.ravel())

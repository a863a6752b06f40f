"""Predictions on the wire: the probabilities of each photo."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from models.wire.answers import effective_version, read_rows
from models.wire.model_ref import ModelRef


@dataclass(frozen=True)
class Prediction:
    """Answers for N images: [N, K] float32 each, and the version that gave them."""

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    version: int


def read_prediction(response: Any, count: int, model: ModelRef) -> Prediction:
    """What a PredictResponse of *model* says of *count* images.

    Raises:
        ModelContractError: another number of rows, or values that are no probabilities.
    """
    return Prediction(*read_rows(response, count, model), effective_version(response))


def join_predictions(parts: Sequence[Prediction]) -> Prediction:
    """One prediction of *parts*, all of one version."""
    if len(parts) == 1:
        return parts[0]
    return Prediction(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        parts[0].version,
    )

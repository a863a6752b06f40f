"""What the online service asks of a model server, whoever stands in between."""

from __future__ import annotations

from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.images import Pixels
from models.wire.channel import Interruption
from models.wire.explanations import Explanation
from models.wire.model_ref import ModelRef
from models.wire.predictions import Prediction
from models.wire.requests import Images
from models.wire.version_status import VersionStatus


class ModelServer(Protocol):
    """The calls of `ModelServerClient`; they raise what it raises."""

    def predict(
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float | None = None,
        interruption: Interruption | None = None,
    ) -> Prediction:
        """Probabilities and logits for *images*."""

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        interruption: Interruption | None = None,
    ) -> Explanation:
        """Where in each image of a *batch* the *classes* are seen."""

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """The card of the version that serves *model* now."""

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """All versions of a model that the server knows, newest first."""

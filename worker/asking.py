"""How a shard asks its model: how long it waits, and what it makes of the first answer."""

from __future__ import annotations

import dataclasses
from functools import partial
from typing import Final

from models.errors import ModelContractError, NotFoundError
from models.images.codec import Pixels
from models.wire.messages import ModelRef, Prediction
from worker.absence import MODEL, is_awaited, lift
from worker.patience import Classifier, Patience
from worker.run import Run
from worker.yielding import Ask

HOLD_SECONDS: Final = 5.0
"""How long a shard keeps its worker while its model is away."""

_GLANCE_SECONDS: Final = 2.0
"""A server that was away and does not answer at all is not waited for any longer."""


def patient_ask(run: Run, classifier: Classifier, patience: Patience) -> Ask:
    """What answers the batches of *run*, as patient as the run may be.

    A run whose model was found away before asks once, and does so before it reads a
    photo.

    Raises:
        ModelUnavailableError: the model server still says nothing.
    """
    if is_awaited(run, MODEL):
        _glance(classifier, run.manifest.request.model)
        patience = dataclasses.replace(patience, wait_seconds=0.0)
    ask = partial(patience.predict, classifier)

    def ask_and_lift(batch: Pixels, model: ModelRef) -> Prediction:
        prediction = ask(batch, model)
        lift(run, MODEL)
        return prediction

    return ask_and_lift


def _glance(classifier: Classifier, name: str) -> None:
    try:
        classifier.versions(name, _GLANCE_SECONDS)
    except (NotFoundError, ModelContractError):
        # It answers; what is wrong is told by a batch.
        return

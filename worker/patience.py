"""Waiting for a model server that is away, and telling that apart from one that is wrong.

A model that is away is asked again until the limit; its images never get a made-up
probability. What waiting cannot mend is a ModelContractError.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Final, Protocol

import numpy as np

from models.contract import MAX_BATCH_SIZE
from models.errors import (
    ConflictError,
    MixedBatchError,
    ModelContractError,
    ModelUnavailableError,
    NotFoundError,
)
from models.images.codec import Pixels
from models.wire.messages import ModelRef, Prediction, VersionStatus

CALL_TIMEOUT_SECONDS: Final = 60.0
"""Above what a full batch takes on two slow cores; below the job's own limit."""

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
CONTRACT_TRIES: Final = 3
"""A server that is killed in mid-answer can look like one that answers nonsense."""

MIXED_PAUSE_SECONDS: Final = 0.1
MIXED_SECONDS: Final = 10.0
"""How long requests of others, with images of another size, may spoil shared batches.
That is no absence: the model answers, and soon those others know the right size. Until then
the batch is sent filled up, so that it has no room for theirs."""

GONE_SECONDS: Final = 3.0
"""A server that starts may list its versions one by one."""

_COMING: Final = frozenset({"START", "LOADING", "AVAILABLE"})


class Classifier(Protocol):
    """Batch -> probabilities; the client of a model server."""

    def predict(
        self, batch: Pixels, model: ModelRef, timeout_seconds: float | None = None
    ) -> Prediction:
        """As `ModelServerClient.predict`."""

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """As `ModelServerClient.versions`."""


@dataclass(frozen=True)
class Patience:
    """How long to wait for a model.

    Attributes:
        wait_seconds: limit between two answers. What may be no absence is asked again
            even so: nonsense, a version that seems not to be served any more, and a
            shared batch that others have spoiled.
        pause: waits the seconds given; True means to give up at once.
        is_over: whether the answer is not wanted any more.
    """

    wait_seconds: float
    pause: Callable[[float], bool]
    is_over: Callable[[], bool]

    def predict(
        self, classifier: Classifier, batch: Pixels, model: ModelRef
    ) -> Prediction:
        """The answer for *batch*, however long the model was away within the limit.

        Raises:
            ModelUnavailableError: away for too long, or told to give up.
            ModelContractError: what the server answers cannot be used, or it serves
                other versions and not this one.
            ConflictError: the run has ended meanwhile (code "job_over").
        """
        attempts, sent = _Attempts(self.wait_seconds), batch
        while True:
            if self.is_over():
                raise ConflictError("the run has ended meanwhile", code="job_over")
            try:
                answer = classifier.predict(sent, model, CALL_TIMEOUT_SECONDS)
                return _first(answer, len(batch))
            except (ModelUnavailableError, ModelContractError) as error:
                pause_seconds = attempts.failed(error)
                if isinstance(error, MixedBatchError):
                    sent = _filled(batch)
            except NotFoundError as error:
                attempts.check_served(classifier, model)
                pause_seconds = attempts.failed(error)
            if self.pause(pause_seconds):
                raise ModelUnavailableError("the worker stops: the shard runs again")


def _filled(batch: Pixels) -> Pixels:
    """*batch* and its last image again and again: a full one shares with nobody."""
    missing = max(MAX_BATCH_SIZE - len(batch), 0)
    return np.concatenate([batch, np.repeat(batch[-1:], missing, axis=0)])


def _first(answer: Prediction, count: int) -> Prediction:
    if len(answer.probabilities) == count:
        return answer
    probabilities, logits = answer.probabilities[:count], answer.logits[:count]
    return replace(answer, probabilities=probabilities, logits=logits)


class _Attempts:
    def __init__(self, wait_seconds: float) -> None:
        self._wait_seconds = wait_seconds
        self._begun = time.monotonic()
        self._pause_seconds = FIRST_PAUSE_SECONDS
        self._contract_errors = 0
        self._gone_since: float | None = None
        self._mixed_since: float | None = None

    def failed(
        self, error: ModelUnavailableError | ModelContractError | NotFoundError
    ) -> float:
        is_nonsense = isinstance(error, ModelContractError)
        if is_nonsense:
            self._contract_errors += 1
            if self._contract_errors >= CONTRACT_TRIES:
                raise error
        if isinstance(error, ModelUnavailableError):
            self._gone_since = None
        if isinstance(error, MixedBatchError) and self._may_settle():
            return MIXED_PAUSE_SECONDS
        is_away = not is_nonsense and self._gone_since is None
        waited = time.monotonic() - self._begun
        if is_away and waited + self._pause_seconds > self._wait_seconds:
            away = f"the model was away for {waited:.0f} seconds"
            raise ModelUnavailableError(
                f"{away}: {error}", visitor_message=f"{away}: {error.public}"
            ) from error
        current = self._pause_seconds
        self._pause_seconds = min(2 * current, LONGEST_PAUSE_SECONDS)
        return current

    def _may_settle(self) -> bool:
        moment = time.monotonic()
        self._mixed_since = moment if self._mixed_since is None else self._mixed_since
        return moment - self._mixed_since < MIXED_SECONDS

    def check_served(self, classifier: Classifier, model: ModelRef) -> None:
        available = _others_available(classifier, model)
        if not available:
            self._gone_since = None
            return
        moment = time.monotonic()
        self._gone_since = moment if self._gone_since is None else self._gone_since
        if moment - self._gone_since >= GONE_SECONDS:
            served = ", ".join(map(str, available))
            message = (
                f"model {model} is not served any more (served: {served}): "
                "submit the folder again for a served version, or bring this one back "
                "and retry the job"
            )
            raise ModelContractError(message)


def _others_available(classifier: Classifier, model: ModelRef) -> list[int]:
    try:
        versions = classifier.versions(model.name)
    except (ModelUnavailableError, ModelContractError, NotFoundError):
        return []
    if any(
        each.version == model.version and each.state in _COMING for each in versions
    ):
        return []
    return [each.version for each in versions if each.state == "AVAILABLE"]

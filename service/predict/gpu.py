"""A model server on GPUs: versions that no GPU can compute get no traffic.

A server loads an int8 version all the same, and fails, or computes on its CPU, when photos
arrive. So every call names a version whose card was read before: one that names none gets the
newest version that is fit, and not whichever is the newest at that moment.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Final, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.contract import FLOAT16_REMEDY, ModelCard
from models.errors import (
    ModelContractError,
    ModelUnavailableError,
    NotFoundError,
)
from models.images.codec import Pixels
from models.wire.client import DEFAULT_TIMEOUT_SECONDS, Cancellation, ModelServer
from models.wire.messages import (
    AVAILABLE,
    Explanation,
    Images,
    ModelRef,
    Prediction,
    VersionStatus,
    not_served,
)

LOOK_SECONDS: Final = 0.5
"""How long the version found for a model or label is used before it is looked up again."""

_Answer = TypeVar("_Answer")


class GpuModelServer:
    """*server*, of whose versions only those that a GPU can compute answer; thread-safe."""

    def __init__(self, server: ModelServer, look_seconds: float = LOOK_SECONDS) -> None:
        """Look up the version of a model or label every *look_seconds*."""
        self._server = server
        self._look_seconds = look_seconds
        self._lock = threading.Lock()
        self._cards: dict[ModelRef, ModelCard] = {}
        self._found: dict[ModelRef, tuple[float, ModelRef]] = {}

    def predict(
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Prediction:
        """As `ModelServerClient.predict`.

        Raises:
            ModelUnavailableError: also if the version cannot be computed on a GPU.
        """
        return self._call(
            model,
            timeout_seconds,
            lambda fit, left: self._server.predict(images, fit, left, cancellation),
        )

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Explanation:
        """As `ModelServerClient.explain`.

        Raises:
            ModelUnavailableError: as `predict`.
        """
        return self._call(
            model,
            timeout_seconds,
            lambda fit, left: self._server.explain(
                batch, classes, fit, left, cancellation
            ),
        )

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """As `ModelServerClient.describe`.

        Raises:
            ModelUnavailableError: as `predict`.
        """
        return self._call(model, timeout_seconds, self._server.describe)

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """As `ModelServerClient.versions`; unfit ones have ended, and say why."""
        deadline = _deadline(timeout_seconds)
        statuses = self._server.versions(name, _left(deadline))
        return [self._judged(name, each, deadline) for each in statuses]

    def _judged(
        self, name: str, status: VersionStatus, deadline: float
    ) -> VersionStatus:
        if status.state != AVAILABLE:
            return status
        try:
            card = self._card(ModelRef(name, version=status.version), deadline)
        except (ModelContractError, NotFoundError):
            return status  # it cannot answer either, and the call will say why
        refusal = _refusal(card)
        return replace(status, state="END", refusal=refusal) if refusal else status

    def _call(
        self,
        model: ModelRef,
        timeout_seconds: float | None,
        call: Callable[[ModelRef, float], _Answer],
    ) -> _Answer:
        deadline = _deadline(timeout_seconds)
        try:
            return call(self._find_fit(model, deadline), _left(deadline))
        except NotFoundError:
            if model.version is not None:
                raise
        # The version was unloaded after it was looked up.
        with self._lock:
            self._found.pop(model, None)
        return call(self._find_fit(model, deadline), _left(deadline))

    def _find_fit(self, model: ModelRef, deadline: float) -> ModelRef:
        if model.version is not None:
            return _accepted(self._card(model, deadline))
        now = time.monotonic()
        with self._lock:
            looked, found = self._found.get(model, (-math.inf, model))
        if now - looked < self._look_seconds:
            return found
        if model.label is not None:
            found = _accepted(self._server.describe(model, _left(deadline)))
        else:
            found = self._newest_fit(model, deadline)
        with self._lock:
            self._found[model] = now, found
        return found

    def _newest_fit(self, model: ModelRef, deadline: float) -> ModelRef:
        versions = [
            ModelRef(model.name, version=each.version)
            for each in self._server.versions(model.name, _left(deadline))
            if each.state == AVAILABLE
        ]
        if not versions:
            raise not_served(model)
        for version in versions:
            if not self._card(version, deadline).gpu_refusal:
                return version
        return _accepted(self._card(versions[0], deadline))

    def _card(self, version: ModelRef, deadline: float) -> ModelCard:
        with self._lock:
            card = self._cards.get(version)
        if card is None:
            card = self._server.describe(version, _left(deadline))
            with self._lock:
                self._cards[version] = card
        return card


def _accepted(card: ModelCard) -> ModelRef:
    if refusal := _refusal(card):
        raise ModelUnavailableError(refusal)
    return ModelRef(card.name, version=card.version)


def _refusal(card: ModelCard) -> str:
    return f"{card.gpu_refusal}: {FLOAT16_REMEDY}" if card.gpu_refusal else ""


def _deadline(timeout_seconds: float | None) -> float:
    return time.monotonic() + (timeout_seconds or DEFAULT_TIMEOUT_SECONDS)


def _left(deadline: float) -> float:
    return max(deadline - time.monotonic(), 0.001)

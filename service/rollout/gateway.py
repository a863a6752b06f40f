"""Canary assignment: a share of the requests that name no version goes to the canary.

A hash decides, so that all processes agree: the same `X-Rollout-Key` stays on the same
version, and a share that grows keeps those who are on the canary already. What the canary
cannot answer, the stable version answers: no request fails because of a rollout. Shadow
requests ask the stable version about some of the canary's photos, off the requests' path.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import Full, Queue
from typing import Final, NamedTuple

from flask import request

from models.contract import ModelCard
from models.errors import KennelError, ModelContractError, ModelUnavailableError
from models.rollouts import CANARY, RUNNING, STABLE, Rollout
from models.wire.messages import ModelRef
from service.http.background import BackgroundThread
from service.http.budget import Budget
from service.http.headers import request_id
from service.http.record import current_record
from service.predict.catalog import Catalog
from service.predict.predictor import ImageResults, Predictor
from service.rollout.counters import (
    DROPPED,
    UNPAIRED,
    Counters,
    count_answer,
    count_error,
    count_pairs,
)
from service.rollout.pinned import Rollouts

CANARY_SHARE: Final = 0.5
"""Of the time that is left: the stable version must have some of its own."""


@dataclass(frozen=True)
class Gateway:
    """Predicts as *predictor* does, with the version that a rollout chooses."""

    predictor: Predictor
    rollouts: Rollouts
    ledger: Counters
    mirror: Shadow

    @property
    def catalog(self) -> Catalog:
        """What is served."""
        return self.predictor.catalog

    def predict(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        accept: Callable[[ModelCard], None],
        budget: Budget,
    ) -> ImageResults:
        """As `Predictor.predict`, for the request in work."""
        rollout = self._running(model)
        if rollout is None:
            return self.predictor.predict(images, model, accept, budget)
        call = _RolloutRequest(self.predictor, rollout, images, accept, budget)
        where = draw(rollout, current_key())
        if where.side >= rollout.share:
            return self._stable(call)
        try:
            answer, counts = call.ask(CANARY, budget.part(CANARY_SHARE))
        except KennelError:
            answer = self._stable(call)
            # Counted now: what the stable version refuses as well is not its fault.
            self.ledger.add(rollout, count_error(CANARY))
            return answer
        self.ledger.add(rollout, counts)
        current_record().label = CANARY
        if where.mirror < rollout.mirror:
            self.mirror.offer(ShadowTask(rollout, images, answer))
        return answer

    def _stable(self, call: _RolloutRequest) -> ImageResults:
        try:
            answer, counts = call.ask(STABLE, call.budget)
        except (ModelUnavailableError, ModelContractError):
            self.ledger.add(call.rollout, count_error(STABLE))
            raise
        self.ledger.add(call.rollout, counts)
        return answer

    def _running(self, model: ModelRef) -> Rollout | None:
        if model.is_exact:
            return None
        rollout = self.rollouts.of(model.name)
        return rollout if rollout is not None and rollout.state == RUNNING else None


@dataclass(frozen=True)
class _RolloutRequest:
    predictor: Predictor
    rollout: Rollout
    images: Sequence[bytes]
    accept: Callable[[ModelCard], None]
    budget: Budget

    def ask(self, side: str, budget: Budget) -> tuple[ImageResults, Counter[str]]:
        version = self.rollout.canary if side == CANARY else None
        model = ModelRef(self.rollout.model, version=version)
        began = time.perf_counter()
        answer = self.predictor.predict(self.images, model, self.accept, budget)
        return answer, count_answer(side, answer, time.perf_counter() - began)


WAITING: Final = 4
MAX_BYTES: Final = 4 * 1024**2
"""Of a request's photos: larger requests are not asked about twice."""
_SHADOW_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class ShadowTask:
    """The photos of one request, and what the canary said of them."""

    rollout: Rollout
    images: Sequence[bytes]
    answer: ImageResults


class Shadow:
    """Compares the answers of two versions; thread-safe."""

    def __init__(self, predictor: Predictor, ledger: Counters) -> None:
        """Ask *predictor* and count in *ledger*; no thread before there is a task."""
        self._predictor = predictor
        self._ledger = ledger
        self._tasks: Queue[ShadowTask] = Queue(WAITING)
        self._thread = BackgroundThread(self._run, "rollout-mirror")

    def offer(self, task: ShadowTask) -> None:
        """Compare *task* when there is time, or never."""
        try:
            if sum(map(len, task.images)) > MAX_BYTES:
                raise Full
            self._tasks.put_nowait(task)
        except Full:
            self._ledger.add(task.rollout, Counter({DROPPED: len(task.images)}))
            return
        self._thread.start()

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            self._ledger.add(task.rollout, self._compare(task))

    def _compare(self, task: ShadowTask) -> Counter[str]:
        stable = ModelRef(task.rollout.model, version=task.rollout.stable)
        try:
            other = self._predictor.predict(
                task.images, stable, lambda _: None, Budget(_SHADOW_SECONDS)
            )
        except KennelError as error:
            _log.debug("%s", error)
            return Counter({UNPAIRED: len(task.images)})
        return count_pairs(task.answer, other)


KEY_HEADER: Final = "X-Rollout-Key"

_RANGE: Final = 2**32


class Draw(NamedTuple):
    """Where a request falls, twice: two independent percentages, 0 to below 100."""

    side: float
    mirror: float


def draw(rollout: Rollout, key: str) -> Draw:
    """Where requests with *key* fall in *rollout*; others fall elsewhere in another."""
    digest = hashlib.blake2b(f"{rollout.id}:{key}".encode(), digest_size=8).digest()
    return Draw(_percentage(digest[:4]), _percentage(digest[4:]))


def current_key() -> str:
    """What the request in work is told apart by."""
    return request.headers.get(KEY_HEADER) or request_id()


def _percentage(digits: bytes) -> float:
    return 100 * int.from_bytes(digits) / _RANGE

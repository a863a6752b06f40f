"""Sends a share of the requests that name no version to the canary.

The side is chosen before anything is decoded, so that requests gather in lanes of one
version. What the canary cannot answer, the stable version answers: no request fails
because of a rollout.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final

from models.contract import ModelCard
from models.errors import KennelError, ModelContractError, ModelUnavailableError
from models.rollouts import CANARY, RUNNING, STABLE, Rollout
from models.wire.messages import ModelRef
from service.budget import Budget
from service.observation.record import current_record
from service.predictions.predictor import Answer, Predictor
from service.rollout.ledger import Ledger
from service.rollout.mirror import Mirror, Task
from service.rollout.rollouts import Rollouts
from service.rollout.sides import current_key, draw
from service.rollout.tally import count_answer, count_error
from service.served.catalog import Catalog

CANARY_SHARE: Final = 0.5
"""Of the time that is left: the stable version must have some of its own."""


@dataclass(frozen=True)
class Gateway:
    """Predicts as *predictor* does, with the version that a rollout chooses."""

    predictor: Predictor
    rollouts: Rollouts
    ledger: Ledger
    mirror: Mirror

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
    ) -> Answer:
        """As `Predictor.predict`, for the request in work."""
        rollout = self._running(model)
        if rollout is None:
            return self.predictor.predict(images, model, accept, budget)
        call = _Call(self.predictor, rollout, images, accept, budget)
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
            self.mirror.offer(Task(rollout, images, answer))
        return answer

    def _stable(self, call: _Call) -> Answer:
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
class _Call:
    predictor: Predictor
    rollout: Rollout
    images: Sequence[bytes]
    accept: Callable[[ModelCard], None]
    budget: Budget

    def ask(self, side: str, budget: Budget) -> tuple[Answer, Counter[str]]:
        version = self.rollout.canary if side == CANARY else None
        model = ModelRef(self.rollout.model, version=version)
        began = time.perf_counter()
        answer = self.predictor.predict(self.images, model, self.accept, budget)
        return answer, count_answer(side, answer, time.perf_counter() - began)

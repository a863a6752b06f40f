"""Asks the stable version about some of the canary's photos, off the requests' path.

One such call at a time in a process, a few wait, the rest is dropped and counted: the
comparison must never cost a request its place.
"""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from queue import Full, Queue
from typing import Final

from models.errors import KennelError
from models.rollouts import Rollout
from models.wire.messages import ModelRef
from service.budget import Budget
from service.late_thread import LateThread
from service.predictions.predictor import Answer, Predictor
from service.rollout.ledger import Ledger
from service.rollout.tally import DROPPED, UNPAIRED, count_pairs

WAITING: Final = 4
MAX_BYTES: Final = 4 * 1024**2
"""Of a request's photos: larger requests are not asked about twice."""
_SECONDS: Final = 10.0

_log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Task:
    """The photos of one request, and what the canary said of them."""

    rollout: Rollout
    images: Sequence[bytes]
    answer: Answer


class Mirror:
    """Compares the answers of two versions; thread-safe."""

    def __init__(self, predictor: Predictor, ledger: Ledger) -> None:
        """Ask *predictor* and count in *ledger*; no thread before there is a task."""
        self._predictor = predictor
        self._ledger = ledger
        self._tasks: Queue[Task] = Queue(WAITING)
        self._thread = LateThread(self._run, "rollout-mirror")

    def offer(self, task: Task) -> None:
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

    def _compare(self, task: Task) -> Counter[str]:
        stable = ModelRef(task.rollout.model, version=task.rollout.stable)
        try:
            other = self._predictor.predict(
                task.images, stable, lambda _: None, Budget(_SECONDS)
            )
        except KennelError as error:
            _log.debug("%s", error)
            return Counter({UNPAIRED: len(task.images)})
        return count_pairs(task.answer, other)

"""Counts of this process on their way to those of all, without a request waiting.

A request adds to a dictionary. A thread of its own, started by the first of them,
carries what has come together to Redis about once a second; while that is away, counts
wait here.
"""

from __future__ import annotations

import logging
import threading
from collections import Counter, defaultdict
from typing import Final

from models.errors import QueueUnavailableError
from models.rollouts import Rollout
from service.late_thread import LateThread
from worker.queue import SharedCounts

FLUSH_SECONDS: Final = 1.0
_AWAY_SECONDS: Final = 5.0
_KEY_PREFIX: Final = "kennel:rollout"

_log = logging.getLogger(__name__)


def counts_key(rollout: Rollout) -> str:
    """Where the counts of *rollout* are shared."""
    return f"{_KEY_PREFIX}:{rollout.model}:{rollout.id}"


class Ledger:
    """Adds up what requests count; thread-safe."""

    def __init__(
        self, counts: SharedCounts, flush_seconds: float = FLUSH_SECONDS
    ) -> None:
        """Flush to *counts*; no thread is started before there is something."""
        self._counts = counts
        self._flush_seconds = flush_seconds
        self._pending: defaultdict[str, Counter[str]] = defaultdict(Counter)
        self._lock = threading.Lock()
        self._wanted = threading.Event()
        self._thread = LateThread(self._run, "rollout-counts")

    def add(self, rollout: Rollout, counts: Counter[str]) -> None:
        """Add *counts* to those of *rollout*; takes some microseconds."""
        with self._lock:
            self._pending[counts_key(rollout)].update(counts)
        self._thread.start()
        self._wanted.set()

    def flush(self) -> None:
        """Share what has come together.

        Raises:
            QueueUnavailableError: Redis is away; it is kept for the next time.
        """
        with self._lock:
            pending, self._pending = self._pending, defaultdict(Counter)
        while pending:
            key, counts = pending.popitem()
            try:
                self._counts.add(key, counts)
            except QueueUnavailableError:
                pending[key] = counts
                self._take_back(pending)
                raise

    def _take_back(self, pending: dict[str, Counter[str]]) -> None:
        with self._lock:
            for key, counts in pending.items():
                self._pending[key].update(counts)

    def _run(self) -> None:
        pause = threading.Event()
        while self._wanted.wait():
            pause.wait(self._flush_seconds)
            self._wanted.clear()
            try:
                self.flush()
            except QueueUnavailableError as error:
                _log.debug("%s", error)
                pause.wait(_AWAY_SECONDS)
                self._wanted.set()

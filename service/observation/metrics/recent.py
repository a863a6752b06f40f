"""Answers that may be a moment old, so that many scrapes cost as much as one."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from typing import Final, Generic, TypeVar

FRESH_SECONDS: Final = 2.0

_Answer = TypeVar("_Answer")


class Recent(Generic[_Answer]):
    """Asks once in a while; thread-safe: who comes meanwhile waits for the answer."""

    def __init__(
        self, ask: Callable[[], _Answer], fresh_seconds: float = FRESH_SECONDS
    ) -> None:
        """Keep what *ask* returns for *fresh_seconds*."""
        self._ask = ask
        self._fresh_seconds = fresh_seconds
        self._lock = threading.Lock()
        self._answer: _Answer
        self._asked: float | None = None

    def __call__(self) -> _Answer:
        """The answer, fresh or recent."""
        with self._lock:
            now = time.monotonic()
            if self._asked is None or now - self._asked > self._fresh_seconds:
                self._answer = self._ask()
                self._asked = time.monotonic()
            return self._answer

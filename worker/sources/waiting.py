"""Waiting for storage that is away: again and again, more slowly, up to a limit."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, TypeVar

from models.errors import StorageUnavailableError
from worker.sources.driver import StorageRefusedError

FIRST_PAUSE_SECONDS: Final = 0.2
LONGEST_PAUSE_SECONDS: Final = 5.0
SHARD_WAIT_SECONDS: Final = 5.0
"""How long a shard keeps its worker while its photos are away."""

RESULTS_WAIT_SECONDS: Final = 60.0
"""With ten attempts of an assembly, an outage of ten minutes passes unnoticed."""

REQUEST_WAIT_SECONDS: Final = 3.0
"""Somebody waits for the answer: better a quick no."""

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class Waiting:
    """How long storage that is away is asked again.

    Attributes:
        seconds: limit from the first failure on.
        pause: waits the seconds given; True means to give up at once.
    """

    seconds: float
    pause: Callable[[float], bool]

    def insist(self, ask: Callable[[], _Answer]) -> _Answer:
        """What *ask* answers, however often it was told that the storage is away.

        Raises:
            StorageUnavailableError: away for too long, or told to give up.
        """
        pause_seconds, limit = FIRST_PAUSE_SECONDS, None
        while True:
            try:
                return ask()
            except StorageRefusedError:
                raise
            except StorageUnavailableError:
                resumes = time.monotonic() + pause_seconds
                limit = limit or time.monotonic() + self.seconds
                if resumes > limit or self.pause(pause_seconds):
                    raise
            pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


AT_ONCE: Final = Waiting(0.0, lambda _: True)
"""For what is asked once."""


def brief_waiting() -> Waiting:
    """For a request over HTTP or a command."""
    return Waiting(REQUEST_WAIT_SECONDS, threading.Event().wait)

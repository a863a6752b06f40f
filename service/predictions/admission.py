"""Turns requests away that could not be answered in time, at once.

What an image has to wait is the images in work divided by the rate at which this process
answers them (Little's law). If that is above the request's budget, its sender is told
when to try again, instead of waiting for a timeout and making others wait as well.
"""

from __future__ import annotations

import math
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

from models.errors import ModelOverloadedError, ModelUnavailableError
from service.budget import Budget, ClientGoneError
from service.predictions.drain import DrainRate

_MAX_RETRY_SECONDS: Final = 30


class OverloadedError(ModelOverloadedError):
    """This process has enough to do; ``headers`` say when to try again."""

    def __init__(self, message: str, wait_seconds: float) -> None:
        """Suggest to try again after *wait_seconds*, in whole seconds from 1 to 30."""
        super().__init__(f"{message}: try again, or send a folder job")
        bounded = min(max(wait_seconds, 1.0), _MAX_RETRY_SECONDS)
        self.headers = {"Retry-After": str(math.ceil(bounded))}


class Admission:
    """Knows the images in work in this process; thread-safe."""

    def __init__(
        self, limit: int, changed: Callable[[int], object] = lambda _: None
    ) -> None:
        """Let in at most *limit* images at the same time, however fast they go.

        *changed* is told by how many their number has grown (or, below zero, fallen).
        """
        self._limit = limit
        self._changed = changed
        self._drain = DrainRate()
        self._apart = 0
        self._lock = threading.Lock()

    def is_busy(self) -> bool:
        """Whether any image is in work."""
        return self._drain.in_work + self._apart > 0

    def check_room(self, seconds: float) -> None:
        """Make sure that one more image could be answered within *seconds*.

        Raises:
            OverloadedError: it could not.
        """
        with self._lock:
            self._check(1, seconds, time.monotonic())

    @contextmanager
    def enter(self, count: int, budget: Budget, apart: int = 0) -> Iterator[None]:
        """Work on *count* images, which should be answered within *budget*.

        So many of them as are worked on *apart*, in a line of their own, say nothing of
        how fast the others go: four that take seconds are no reason to refuse a photo.

        Raises:
            OverloadedError: they would not be, or there is no place for them.
            ModelTimeoutError: the budget is spent.
        """
        seconds = budget.left()
        together = count - apart
        with self._lock:
            now = time.monotonic()
            self._check(together, seconds, now, apart)
            self._drain.enter(together, now)
            self._apart += apart
        self._changed(count)
        answered = True
        try:
            yield
        except (ModelUnavailableError, ClientGoneError):
            answered = False
            raise
        finally:
            self._changed(-count)
            with self._lock:
                self._drain.leave(together, time.monotonic(), answered=answered)
                self._apart -= apart

    def queue_seconds(self) -> float:
        """How long the images in work are likely to take; 0 if unknown."""
        with self._lock:
            return self._drain.seconds_for(self._drain.in_work, time.monotonic())

    def _check(self, count: int, seconds: float, now: float, apart: int = 0) -> None:
        in_work = self._drain.in_work
        queue = self._drain.seconds_for(in_work, now)
        taken = in_work + self._apart
        if taken + count + apart > self._limit:
            message = f"{taken} images are in work and {self._limit} is the limit"
            raise OverloadedError(message, queue)
        if in_work == 0 or count == 0:
            return  # somebody has to find out how fast it goes
        if self._drain.seconds_for(in_work + count, now) > seconds:
            message = (
                f"{in_work} images are in work, too many for an answer within "
                f"{seconds:.1f} s"
            )
            raise OverloadedError(message, queue)

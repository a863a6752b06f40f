"""The time that one request may take, and where it went.

Every wait inside a request is given what is left, so that no layer outlives the one
above it.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from werkzeug.datastructures import Headers

from models.errors import InvalidRequestError, ModelTimeoutError, quoted
from service.settings import MAX_TIMEOUT_SECONDS, MIN_TIMEOUT_SECONDS

TIMEOUT_HEADER: Final = "X-Request-Timeout-Ms"

_ANSWER_SECONDS: Final = 0.05
"""Kept back for writing the answer: the client should read a 504, not give up."""


class Budget:
    """One request's deadline and stop-watch; not shared between requests.

    Attributes:
        spent: seconds by part.
        begun: when each part was first met, by `time.perf_counter`.
    """

    def __init__(self, seconds: float) -> None:
        """Start now; the deadline is in *seconds*."""
        self.seconds = seconds
        self.spent: dict[str, float] = {}
        self.begun: dict[str, float] = {}
        self._deadline = time.monotonic() + seconds - _ANSWER_SECONDS

    def left(self) -> float:
        """Seconds until the deadline, more than zero.

        Raises:
            ModelTimeoutError: nothing is left.
        """
        left = self._deadline - time.monotonic()
        if left <= 0:
            raise self.exhausted()
        return left

    def part(self, share: float) -> Budget:
        """A budget of *share* (0..1) of what is left; what it spends, this one spends.

        Raises:
            ModelTimeoutError: nothing is left.
        """
        part = Budget(self.left() * share + _ANSWER_SECONDS)
        part.spent, part.begun = self.spent, self.begun
        return part

    def exhausted(self) -> ModelTimeoutError:
        """The error that says this budget is spent."""
        milliseconds = round(self.seconds * 1000)
        return ModelTimeoutError(
            f"no answer within the request's {milliseconds} ms: try again, send fewer "
            f"images, or allow more with {TIMEOUT_HEADER}"
        )

    @contextmanager
    def measure(self, part: str) -> Iterator[None]:
        """Add the time inside to what *part* has spent."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.add(part, time.perf_counter() - start)

    def add(self, part: str, seconds: float) -> None:
        """Add *seconds*, which end now, to what *part* has spent."""
        self.begun.setdefault(part, time.perf_counter() - seconds)
        self.spent[part] = self.spent.get(part, 0.0) + seconds

    def server_timing(self) -> str:
        """The parts as a ``Server-Timing`` header, in milliseconds."""
        return ", ".join(
            f"{part};dur={seconds * 1000:.1f}" for part, seconds in self.spent.items()
        )


def read_budget(headers: Headers, default_seconds: float) -> Budget:
    """What a request with those *headers* may take, from now on.

    Raises:
        InvalidRequestError: as `read_timeout`.
    """
    return Budget(read_timeout(headers, default_seconds))


def read_timeout(headers: Headers, default_seconds: float) -> float:
    """The seconds that a request's *headers* ask for, moved into what we allow.

    Raises:
        InvalidRequestError: it is not a whole number.
    """
    header = headers.get(TIMEOUT_HEADER)
    if header is None:
        return default_seconds
    if not (header.isascii() and header.isdigit()) or len(header) > 12:
        message = f"{TIMEOUT_HEADER}: {quoted(header)} is not a whole number: use 10000"
        raise InvalidRequestError(message)
    return min(max(int(header) / 1000, MIN_TIMEOUT_SECONDS), MAX_TIMEOUT_SECONDS)

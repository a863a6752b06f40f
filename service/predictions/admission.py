"""Bounds the images that one process works on, so that overload answers at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager

from models.errors import ModelOverloadedError


class Admission:
    """Counts images in flight; thread-safe."""

    def __init__(self, limit: int) -> None:
        """Let *limit* images in at the same time."""
        self._limit = limit
        self._count = 0
        self._lock = threading.Lock()

    def check_room(self) -> None:
        """Make sure that at least one more image may come in.

        Raises:
            ModelOverloadedError: the limit is reached.
        """
        if self._count >= self._limit:
            raise self._refusal(1)

    @contextmanager
    def enter(self, count: int) -> Iterator[None]:
        """Hold places for *count* images.

        Raises:
            ModelOverloadedError: there are not that many.
        """
        with self._lock:
            if self._count + count > self._limit:
                raise self._refusal(count)
            self._count += count
        try:
            yield
        finally:
            with self._lock:
                self._count -= count

    def _refusal(self, count: int) -> ModelOverloadedError:
        return ModelOverloadedError(
            f"{self._count} images are in work and {self._limit} is the limit, so "
            f"{count} more must wait: try again, or send a folder job"
        )

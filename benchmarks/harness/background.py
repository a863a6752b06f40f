"""Work beside a measurement, repeated by a thread until the measurement ends."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager


@contextmanager
def repeating(work: Callable[[], object], pause_seconds: float = 0.0) -> Iterator[None]:
    """Call *work* during the block, each time after *pause_seconds*."""
    stopping = threading.Event()

    def repeat() -> None:
        while not stopping.wait(pause_seconds):
            work()

    thread = threading.Thread(target=repeat)
    thread.start()
    try:
        yield
    finally:
        stopping.set()
        thread.join()

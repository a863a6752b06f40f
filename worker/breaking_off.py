"""Leaves the work of a run that was cancelled or has failed, whatever it waits for.

A batch may take a slow model server half a minute, and reading the artefacts of a large
run as long: their worker is wanted elsewhere within seconds.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Final

from models.errors import ConflictError
from worker.run import Run

_LOOK_SECONDS: Final = 0.5


@contextmanager
def broken_off_when_ended(run: Run) -> Iterator[None]:
    """A block that ends early when *run* was cancelled or failed; main thread only.

    Raises:
        ConflictError: it was (code "job_over").
    """
    done = threading.Event()
    watcher = threading.Thread(target=_watch, args=(run, done), daemon=True)
    before = signal.signal(signal.SIGUSR2, _break_off)
    watcher.start()
    try:
        yield
    finally:
        done.set()
        watcher.join()
        signal.signal(signal.SIGUSR2, before)


def _watch(run: Run, done: threading.Event) -> None:
    while not done.wait(_LOOK_SECONDS):
        # Not the report: an assembly that has just written it goes on to its end.
        if run.cancellation.exists() or run.failure.exists():
            # A signal interrupts the main thread wherever it waits.
            signal.pthread_kill(threading.main_thread().ident or 0, signal.SIGUSR2)
            return


def _break_off(_number: int, _frame: FrameType | None) -> None:
    raise ConflictError("the run has ended meanwhile", code="job_over")

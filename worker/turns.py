"""One at a time, among all processes and threads that plan for the same runs."""

from __future__ import annotations

import fcntl
import os
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

TURN_SECONDS: Final = 1.0
"""Longer than a plan takes; who hangs, because Redis does, is not waited for."""

_POLL_SECONDS: Final = 0.005


@contextmanager
def in_turn(runs_dir: Path) -> Iterator[bool]:
    """Whether it is the caller's turn; False if others had it for a second on end.

    The kernel ends the turn of a killed process.

    Raises:
        OSError: *runs_dir* cannot be opened.
    """
    descriptor = os.open(runs_dir, os.O_RDONLY)
    try:
        yield _locked(descriptor)
    finally:
        os.close(descriptor)


def _locked(descriptor: int) -> bool:
    deadline = time.monotonic() + TURN_SECONDS
    while True:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() > deadline:
                return False
            time.sleep(_POLL_SECONDS)
        else:
            return True

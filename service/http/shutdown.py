"""Shutdown without losing a request: the API says that it is leaving, and leaves later.

A load balancer takes some seconds to notice (a probe of /readyz, an endpoint that
is withdrawn). So SIGTERM begins a time in which the API is not ready any more but still
takes and answers all that comes, each answer closing its connection; the stop comes after.
"""

from __future__ import annotations

import mmap
import os
import signal
from types import FrameType
from typing import Any, Final

from flask import Flask

_EXTENSION: Final = "kennel.shutdown"


class ShutdownFlag:
    """Whether shutdown has begun; shared by gunicorn's master and its workers.

    It lives in memory that forked processes share, so that a worker that was started
    meanwhile knows it too.
    """

    def __init__(self) -> None:
        """Shutdown has not begun."""
        self._begun = mmap.mmap(-1, 1)

    @property
    def begun(self) -> bool:
        """Whether shutdown has begun."""
        return self._begun[0] != 0

    def begin(self) -> None:
        """Begin the shutdown."""
        self._begun[0] = 1


def delay_shutdown(server: Any, flag: ShutdownFlag, seconds: float) -> None:
    """Let gunicorn's master *server* answer for *seconds* more after a SIGTERM.

    A second SIGTERM stops it at once, as SIGINT and SIGQUIT do.
    """

    def stop(number: int, frame: FrameType | None) -> None:
        signal.setitimer(signal.ITIMER_REAL, 0)
        server.signal(signal.SIGTERM, frame)

    def begin(number: int, frame: FrameType | None) -> None:
        # A worker that was forked a moment ago still has its master's handlers.
        if flag.begun or not seconds or os.getpid() != server.pid:
            stop(number, frame)
            return
        flag.begin()
        # Not a thread with a clock: the master still forks, and threads do not.
        signal.setitimer(signal.ITIMER_REAL, seconds)

    signal.signal(signal.SIGALRM, stop)
    signal.signal(signal.SIGTERM, begin)


def register_shutdown(app: Flask, flag: ShutdownFlag) -> None:
    """Let *app* see the shutdown *flag* of the server that it runs in."""
    app.extensions[_EXTENSION] = flag


def is_shutting_down(app: Flask) -> bool:
    """Whether the server of *app* is shutting down."""
    flag: ShutdownFlag | None = app.extensions.get(_EXTENSION)
    return flag is not None and flag.begun

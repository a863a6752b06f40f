"""Graceful shutdown: after SIGTERM /readyz fails at once, and the API stops some seconds later.

A load balancer takes some seconds to notice (it probes /readyz, or the endpoint is
withdrawn). During these seconds the API still answers every request, and each answer closes
its connection.
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

    It is in memory that forked processes share, so that workers started later see it too.
    """

    def __init__(self) -> None:
        """Start with a shutdown that has not begun."""
        self._begun = mmap.mmap(-1, 1)

    @property
    def begun(self) -> bool:
        """Whether shutdown has begun."""
        return self._begun[0] != 0

    def begin(self) -> None:
        """Begin the shutdown."""
        self._begun[0] = 1


def delay_shutdown(server: Any, flag: ShutdownFlag, seconds: float) -> None:
    """Make gunicorn's master *server* stop *seconds* after a SIGTERM.

    A second SIGTERM stops it at once, like SIGINT and SIGQUIT.
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
        # Not threading.Timer: the master still forks, and threads do not survive that.
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

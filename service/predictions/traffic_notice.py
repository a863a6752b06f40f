"""Tells the folder jobs' workers of online traffic, without a request waiting for it.

A request only looks at the clock. A thread of its own, started by the first of them,
speaks to the queue; if that is away, nobody notices but the workers.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from typing import Final

from models.errors import QueueUnavailableError
from service.late_thread import LateThread

NOTICE_SECONDS: Final = 1.0
"""Pause between two notices; well below the time for which one holds."""

_AWAY_SECONDS: Final = 5.0

_log = logging.getLogger(__name__)


class TrafficNotice:
    """Calls *tell* once a second while there are requests; thread-safe."""

    def __init__(self, tell: Callable[[], None], is_busy: Callable[[], bool]) -> None:
        """Nothing is told, and no thread started, before the first request.

        *is_busy*: whether a request is in work, which may last longer than a notice.
        """
        self._tell = tell
        self._is_busy = is_busy
        self._wanted = threading.Event()
        self._thread = LateThread(self._run, "traffic-notice")

    def note(self) -> None:
        """There is a request now; costs less than a microsecond, mostly."""
        if not self._wanted.is_set():
            self._wanted.set()
            self._thread.start()

    def _run(self) -> None:
        while self._is_busy() or self._wanted.wait():
            self._wanted.clear()
            try:
                self._tell()
            except QueueUnavailableError as error:
                _log.debug("%s", error)
                time.sleep(_AWAY_SECONDS)
            else:
                time.sleep(NOTICE_SECONDS)

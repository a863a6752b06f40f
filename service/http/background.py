"""Background threads of the service, for work that no request waits for.

A thread starts at its first use: threads do not survive the fork of the process.
"""

from __future__ import annotations

import threading
from collections.abc import Callable


class BackgroundThread:
    """Runs a function until the process ends; thread-safe."""

    def __init__(self, run: Callable[[], None], name: str) -> None:
        """Run *run* in a thread called *name*, from the first `start` on."""
        self._run = run
        self._name = name
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Start the thread unless it runs already; cheap if it does."""
        if self._thread is not None:
            return
        with self._starting:
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._run, name=self._name, daemon=True
                )
                self._thread.start()

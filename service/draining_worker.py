"""gunicorn's threaded worker, made to end without losing anybody who has connected."""

from __future__ import annotations

import select
from typing import Any

from gunicorn.workers.gthread import ThreadWorker  # type: ignore[import-untyped]

from service.drain import Drain, register_drain


class DrainingWorker(ThreadWorker):  # type: ignore[misc]
    """A worker that closes each connection after an answer once the API drains.

    When it ends, nobody is left in the queue of its socket.
    """

    drain: Drain

    def load_wsgi(self) -> None:
        """Make the application, which is to know of the drain."""
        super().load_wsgi()
        register_drain(self.wsgi, self.drain)

    @property
    def max_keepalived(self) -> int:
        """How many connections may stay open after an answer: none once the API drains.

        gunicorn asks before each answer, so that none needs to wait for a tick.
        """
        return 0 if self.drain.begun else self._room

    @max_keepalived.setter
    def max_keepalived(self, room: int) -> None:
        self._room = room

    def set_accept_enabled(self, enabled: bool) -> None:
        """Take connections, or none for now; none ever if the worker ends.

        Then those that wait in the kernel are taken first. gunicorn would leave them
        there, and more of them, until its last request is answered, and cut them then.
        """
        if enabled or self.alive:
            super().set_accept_enabled(enabled)
            return
        for listener in self.sockets:
            self._take_waiting(listener)
        super().set_accept_enabled(False)
        for listener in self.sockets:
            listener.close()

    def _take_waiting(self, listener: Any) -> None:
        waiting = select.poll()
        waiting.register(listener, select.POLLIN)
        while self.nr_conns < self.worker_connections and waiting.poll(0):
            self.accept(listener)

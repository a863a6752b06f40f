"""gunicorn's own log, without a line for each request: the application writes that."""

from __future__ import annotations

from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]


class TroubleLog(Logger):  # type: ignore[misc]
    """What troubles gunicorn, and nothing else.

    Where a dictionary configures logging, gunicorn's own class gathers all that a line
    about a request could show, 50 us of a core each (measured), though nobody prints it.
    """

    @property
    def access_log_enabled(self) -> bool:
        """Never."""
        return False

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Gather nothing about a request."""

"""gunicorn's configuration: many threads that wait on gRPC, in a few processes.

gunicorn reads the names below when it starts; README lists the variables.
"""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import Any

from gunicorn.glogging import Logger  # type: ignore[import-untyped]

from models.logs import LogSettings, logging_config
from service.http.shutdown import ShutdownFlag, delay_shutdown, register_shutdown
from service.server.gunicorn_worker import ProblemWorker, refuse_unread_coding
from service.settings import ServiceSettings
from service.telemetry.multiprocess import (
    forget_process,
    metrics_folder,
    remove_metrics_folder,
)


class ErrorLog(Logger):  # type: ignore[misc]
    """gunicorn's log without lines about requests.

    Where a dictionary configures logging, gunicorn's own class collects the fields of such
    a line for each request, 50 us of a core (measured), though it is never printed.
    """

    @property
    def access_log_enabled(self) -> bool:
        """False: the application logs requests itself."""
        return False

    def access(self, resp: Any, req: Any, environ: Any, request_time: Any) -> None:
        """Do nothing for a request."""

    def exception(self, msg: Any, *args: Any, **kwargs: Any) -> None:
        """Log the current exception, unless a client only fell silent."""
        if not isinstance(sys.exc_info()[1], BlockingIOError):
            super().exception(msg, *args, **kwargs)


_settings = ServiceSettings.from_env(os.environ)
_shared_memory = Path("/dev/shm")
_shutdown = ShutdownFlag()
_metrics_folder = metrics_folder(os.environ)

bind = _settings.bind
worker_class = ProblemWorker
workers = _settings.web_workers
threads = _settings.web_threads
# gRPC does not survive a fork: each worker builds the application for itself.
preload_app = False
# The heartbeat of a worker; requests are bounded by their own budget.
timeout = 60
graceful_timeout = 30
keepalive = 5
# The heartbeat's file in memory: a slow disk must not look like a hung worker.
worker_tmp_dir = str(_shared_memory) if _shared_memory.is_dir() else None
control_socket_disable = True
# More than browsers and proxies send; cookies may be long where ports share a host.
limit_request_line = 4094
limit_request_fields = 64
limit_request_field_size = 8190
# TRUSTED_PROXIES says whose X-Forwarded-* count; gunicorn would believe all of loopback.
forwarded_allow_ips = ""
# The application logs requests; gunicorn logs only its own problems.
logger_class = ErrorLog
accesslog = None
logconfig_dict = {
    **logging_config(LogSettings.from_env(os.environ)),
    "loggers": {
        "gunicorn.error": {"level": "WARNING", "handlers": [], "propagate": True}
    },
}


def when_ready(server: Any) -> None:
    """Delay the stop; gunicorn has set its own signal handlers by now."""
    delay_shutdown(server, _shutdown, _settings.drain_seconds)


def post_worker_init(worker: Any) -> None:
    """Let the application know of the shutdown; close connections that fall silent."""
    register_shutdown(worker.wsgi, _shutdown)
    worker.close_silent_after(_settings.auth.body_timeout_seconds)


def pre_request(worker: Any, req: Any) -> None:
    """Refuse bodies that cannot be decoded; close connections once shutdown has begun."""
    refuse_unread_coding(req)
    if _shutdown.begun:
        req.force_close()


def child_exit(server: Any, worker: Any) -> None:
    """Drop the gauges of a worker, however it ended."""
    if _metrics_folder is not None:
        forget_process(_metrics_folder, worker.pid)


def on_exit(server: Any) -> None:
    """Remove the metrics, unless a successor (SIGUSR2) goes on with them."""
    if _metrics_folder is not None and server.reexec_pid == 0:
        remove_metrics_folder(_metrics_folder)

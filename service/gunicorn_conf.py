"""gunicorn's configuration: many threads that wait on gRPC, in a few processes.

gunicorn reads the names below when it starts; README lists the variables.
"""

from __future__ import annotations

import os
from pathlib import Path

from service.settings import ServiceSettings

_settings = ServiceSettings.from_env(os.environ)
_shared_memory = Path("/dev/shm")

bind = _settings.bind
worker_class = "gthread"
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
loglevel = "warning"
accesslog = "-"
access_log_format = "%(h)s %(r)s %(s)s %(B)s bytes %(M)s ms %({x-request-id}o)s"

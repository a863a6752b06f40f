"""`python -m service.main`: checks the settings, then executes gunicorn."""

from __future__ import annotations

import os
import sys
from typing import Final

from models.errors import InvalidRequestError
from models.logs import LogSettings
from service.settings import ServiceSettings
from service.telemetry.multiprocess import FOLDER_VARIABLE, make_metrics_folder
from service.telemetry.tracing import TracingSettings

GUNICORN_ARGUMENTS: Final = (
    "--config",
    "python:service.server.gunicorn_conf",
    "service.app:create()",
)

_MALLOC: Final = {
    # Python's threads take turns anyway, and memory of more heaps is never returned.
    "MALLOC_ARENA_MAX": "1",
    # Small pixels stay in the heap (the kernel's page faults cost half the
    # throughput); the pixels of large photos go back to the kernel.
    "MALLOC_MMAP_THRESHOLD_": "4194304",
    "MALLOC_TRIM_THRESHOLD_": "16777216",
}
"""glibc's settings, read when a process starts; variables that are set already win."""


def main() -> None:
    """Serve until a signal ends it; exit with 2 if a setting cannot be used."""
    try:
        ServiceSettings.from_env(os.environ)
        LogSettings.from_env(os.environ)
        TracingSettings.from_env(os.environ)
    except InvalidRequestError as error:
        sys.stderr.write(f"{error}\n")
        raise SystemExit(2) from error
    # Set here: prometheus_client looks for its folder when it is imported.
    folder = {FOLDER_VARIABLE: str(make_metrics_folder())}
    environment = {**_MALLOC, **os.environ, **folder}
    command = [sys.executable, "-m", "gunicorn", *GUNICORN_ARGUMENTS]
    os.execve(sys.executable, command, environment)


if __name__ == "__main__":
    main()

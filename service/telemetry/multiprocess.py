"""The folder in memory where all processes of one service keep their metrics.

prometheus_client maps a file for each process and adds them up at a scrape. It must know
the folder before it is imported, so `service.main` makes it. That process and its
children hold the folder's lock: a folder that can be locked is a leftover.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Final

from models.files import try_lock

FOLDER_VARIABLE: Final = "PROMETHEUS_MULTIPROC_DIR"
"""prometheus_client's own variable; only `service.main` sets it, never an operator."""

_PREFIX: Final = "kennel-metrics-"
_SHARED_MEMORY: Final = Path("/dev/shm")


def make_metrics_folder() -> Path:
    """A new, empty folder, locked until this process and all below it have ended.

    Raises:
        OSError: there is no place to write.
    """
    place = _SHARED_MEMORY
    if not os.access(place, os.W_OK):
        place = Path(tempfile.gettempdir())
    _remove_leftovers(place)
    while True:
        folder = Path(tempfile.mkdtemp(prefix=_PREFIX, dir=place))
        descriptor = _lock(folder)
        # Another service that starts now may have taken it for a leftover.
        if descriptor is not None and folder.exists():
            os.set_inheritable(descriptor, True)
            return folder


def metrics_folder(env: Mapping[str, str]) -> Path | None:
    """The metrics folder of the service of this process; None: there is none."""
    path = env.get(FOLDER_VARIABLE)
    return Path(path) if path else None


def forget_process(folder: Path, pid: int) -> None:
    """Drop the gauges of a process that has ended; what it counted stays."""
    from prometheus_client.multiprocess import mark_process_dead

    mark_process_dead(pid, str(folder))  # type: ignore[no-untyped-call]


def remove_metrics_folder(folder: Path) -> None:
    """Remove the folder at the service's end."""
    shutil.rmtree(folder, ignore_errors=True)


def _remove_leftovers(place: Path) -> None:
    for folder in place.glob(f"{_PREFIX}*"):
        descriptor = _lock(folder)
        if descriptor is not None:
            shutil.rmtree(folder, ignore_errors=True)
            os.close(descriptor)


def _lock(folder: Path) -> int | None:
    with suppress(OSError):
        descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
        with suppress(OSError):
            if try_lock(descriptor):
                return descriptor
        os.close(descriptor)
    return None

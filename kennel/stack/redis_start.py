"""Waits for the local Redis, and says why it does not start.

Redis refuses a damaged file, and nobody here removes one by himself: it may be wanted.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Final

from models.errors import QueueUnavailableError
from worker.worklist import WorkList

START_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_WARNING: Final = " # "
_TAIL_BYTES: Final = 16 * 1024


def wait_for_redis(
    folder: Path,
    url: str,
    has_ended: Callable[[], bool],
    seconds: float = START_SECONDS,
) -> None:
    """Return when the server configured in *folder* answers at *url*.

    Raises:
        QueueUnavailableError: it has ended, or does not answer within *seconds*; the
            message says why and what to do.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            WorkList(url).ping(_ANSWER_SECONDS)
        except QueueUnavailableError as error:
            if has_ended():
                raise QueueUnavailableError(explain_end(folder)) from error
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_POLL_SECONDS)


def explain_end(folder: Path) -> str:
    """Why the server configured in *folder* ended by itself, and the remedy."""
    log = folder / "redis.log"
    reason = _last_warning(log)
    if "append only file" not in reason:
        return f"Redis ended: {reason or 'it did not say why'} (all of it: {log})"
    damaged = _appended(folder)
    return (
        f"Redis cannot read {damaged}: {reason}. It lists queued work only; what jobs "
        f"are and have done lies in RUNS_DIR. Move it away (mv {damaged} "
        f"{damaged}.damaged) and start again: unfinished jobs go on"
    )


def _appended(folder: Path) -> Path:
    # Since version 7 these are several files in a folder.
    parts = folder / "appendonlydir"
    return parts if parts.is_dir() else folder / "appendonly.aof"


def _last_warning(log: Path) -> str:
    try:
        text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""
    warnings = [line.partition(_WARNING)[2] for line in text.splitlines()]
    # Its own advice comes after the first sentence, and names no file.
    return next((each for each in reversed(warnings) if each), "").split(": make ")[0]

"""Whether a stack works on a home; two would mend each other's runs."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Final

from kennel.stack.redis import local_redis_url
from models.errors import ConflictError, QueueUnavailableError
from worker.queue_health import look_at_queue
from worker.reconciler import LOCK_NAME
from worker.settings import WorkerSettings

SILENT_SECONDS: Final = 15.0
"""A reconciler looks every few seconds, a busy worker speaks every one."""

_LOOKS: Final = 3


def check_stopped(env: Mapping[str, str], home: Path) -> None:
    """See that no reconciler or worker of *home* is at work, as far as can be seen.

    Raises:
        ConflictError: one was heard of a moment ago.
    """
    settings = WorkerSettings.from_env(env)
    silent = max(SILENT_SECONDS, _LOOKS * settings.reconcile_seconds)
    for who, seconds in (
        ("a reconciler", _since_reconciler(settings.runs_dir)),
        ("a worker", _since_worker(env, home, settings)),
    ):
        if seconds is not None and seconds < silent:
            message = f"{who} of {settings.runs_dir} was heard of {seconds:.0f} s ago"
            remedy = f"stop the stack, and try again {silent:.0f} s later"
            raise ConflictError(f"{message}: {remedy}")


def _since_reconciler(runs_dir: Path) -> float | None:
    try:
        return abs(time.time() - (runs_dir / LOCK_NAME).stat().st_mtime)
    except OSError:
        return None


def _since_worker(
    env: Mapping[str, str], home: Path, settings: WorkerSettings
) -> float | None:
    # The default address may be another installation's.
    given = settings.redis_url if env.get("REDIS_URL") else None
    url = given or local_redis_url(home / "redis")
    if url is None:
        return None
    try:
        return look_at_queue(url, settings).silence_seconds
    except QueueUnavailableError:
        return None

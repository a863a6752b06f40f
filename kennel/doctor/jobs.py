"""Folder jobs: are there workers, does anybody look for lost work, does all move."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import Deployment
from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from kennel.doctor.fleet import check_fleet
from models.errors import QueueUnavailableError
from worker.queue_health import QueueFacts, look_at_queue
from worker.reconciler import LOCK_NAME
from worker.run import Run
from worker.runs import all_runs

STALLED_SECONDS: Final = 900.0
"""Longer than a shard takes, or waits for a model by default."""

_NAMED: Final = 5
_LOOKS: Final = 5
_SKEW_SECONDS: Final = 1.0
_MAX_SKEW_SECONDS: Final = 4.0
"""Half of the silence after which a worker is taken for dead."""


def check_jobs(deployment: Deployment) -> Iterator[Finding]:
    """Workers, reconciler, queue and unfinished jobs."""
    runs_dir = deployment.worker.runs_dir
    unfinished = [run for run in all_runs(runs_dir) if not run.is_over]
    try:
        queue = look_at_queue(deployment.redis_url, deployment.worker)
    except QueueUnavailableError as error:
        yield unknown("workers", str(error), "see redis")
    else:
        yield from check_fleet(queue, len(unfinished))
        yield _orphans(queue)
        yield _clock(queue.clock_ahead_seconds)
    yield _reconciler(runs_dir, deployment.worker.reconcile_seconds)
    yield _progress(unfinished)


def _orphans(queue: QueueFacts) -> Finding:
    if queue.orphans:
        named = ", ".join(queue.orphans[:_NAMED])
        seen = f"{len(queue.orphans)} entries without a job: {named}"
        remedy = "the reconciler queues their work again; see eviction and who writes"
        return warn("queue", seen, remedy)
    return ok("queue", "every entry has its job")


def _clock(ahead_seconds: float) -> Finding:
    seen = f"Redis's is {ahead_seconds:+.1f} s against this one"
    remedy = "keep time with NTP: a busy worker would be taken for dead"
    if abs(ahead_seconds) > _MAX_SKEW_SECONDS:
        return fail("clock", seen, remedy)
    if abs(ahead_seconds) > _SKEW_SECONDS:
        return warn("clock", seen, remedy)
    return ok("clock", seen)


def _reconciler(runs_dir: Path, interval_seconds: float) -> Finding:
    remedy = "start one, or two: python -m worker.reconciler"
    try:
        looked = (runs_dir / LOCK_NAME).stat().st_mtime
    except OSError:
        return fail("reconciler", f"none has ever looked into {runs_dir}", remedy)
    age_seconds = max(0.0, time.time() - looked)
    seen = f"looked for lost work {age_seconds:.0f} s ago"
    if age_seconds > max(15.0, _LOOKS * interval_seconds):
        return fail("reconciler", seen, remedy)
    return ok("reconciler", seen)


def _progress(unfinished: list[Run]) -> Finding:
    moment = time.time()
    stalled = [r.id for r in unfinished if moment - _last_sign(r) > STALLED_SECONDS]
    if stalled:
        named = ", ".join(stalled[:_NAMED])
        minutes = STALLED_SECONDS / 60
        seen = f"{len(stalled)} jobs without a sign for {minutes:.0f} minutes: {named}"
        remedy = "kennel jobs show JOB; see workers, reconciler and model-server"
        return warn("progress", seen, remedy)
    return ok("progress", f"{len(unfinished)} jobs are unfinished, none is stalled")


def _last_sign(run: Run) -> float:
    places = [run.folder, run.folder / "shards", run.folder / "attempts"]
    places += (run.folder / "attempts").glob("*")
    return max((_changed(each) for each in places), default=0.0)


def _changed(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:
        return 0.0

"""Checks of folder jobs: workers, their versions and clocks, reconciler, progress."""

from __future__ import annotations

import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final

from kennel.doctor.deployment import CheckResult, Deployment, fail, ok, unknown, warn
from kennel.stack.redis import local_redis_url
from models import VERSION
from models.errors import ConflictError, QueueUnavailableError
from worker.process import WORKER_TTL_SECONDS
from worker.queue_health import QueueFacts, look_at_queue
from worker.reconciler import LOCK_NAME
from worker.registered import RegisteredWorker
from worker.run import Run
from worker.runs import all_runs
from worker.settings import WorkerSettings

STALLED_SECONDS: Final = 900.0
"""Longer than a shard takes, and longer than a shard waits for a model by default."""

OLD_SECONDS: Final = 600.0
"""Only a few shards are queued ahead of the workers, so none waits long."""

SILENT_SECONDS: Final = 15.0
"""A reconciler looks every few seconds, a busy worker reports every second."""

_NAMED: Final = 5
_SKEW_SECONDS: Final = 1.0
_MAX_SKEW_SECONDS: Final = 4.0
"""Half of the silence after which a worker counts as dead."""

_WORKER_SKEW_SECONDS: Final = 2.0
_MAX_WORKER_SKEW_SECONDS: Final = 30.0


def check_jobs(deployment: Deployment) -> Iterator[CheckResult]:
    """Checks of workers, reconciler, queue and unfinished jobs."""
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


def check_stopped(env: Mapping[str, str], home: Path) -> None:
    """Check that no reconciler or worker of *home* is at work, as far as can be seen.

    Raises:
        ConflictError: one reported a moment ago.
    """
    settings = WorkerSettings.from_env(env)
    silent = max(SILENT_SECONDS, 3 * settings.reconcile_seconds)
    # At the default address another installation's Redis may answer.
    given = settings.redis_url if env.get("REDIS_URL") else None
    for process, seconds in (
        ("a reconciler", _reconciler_silence(settings.runs_dir)),
        (
            "a worker",
            _worker_silence(given or local_redis_url(home / "redis"), settings),
        ),
    ):
        if seconds is not None and seconds < silent:
            message = (
                f"{process} of {settings.runs_dir} was heard of {seconds:.0f} s ago"
            )
            remedy = f"stop the stack, and try again {silent:.0f} s later"
            raise ConflictError(f"{message}: {remedy}")


def check_fleet(queue: QueueFacts, unfinished: int) -> Iterator[CheckResult]:
    """Checks of the workers, and of how long the oldest work in the queue has waited."""
    yield _workers(queue, unfinished)
    if queue.workers:
        yield _versions(queue.workers)
        yield _clocks(queue.workers)
    yield _oldest(queue.oldest_seconds)


def _orphans(queue: QueueFacts) -> CheckResult:
    if queue.orphans:
        named = ", ".join(queue.orphans[:_NAMED])
        seen = f"{len(queue.orphans)} entries without a job: {named}"
        remedy = "the reconciler queues their work again; see eviction, other writers"
        return warn("queue", seen, remedy)
    return ok("queue", "every entry has its job")


def _clock(ahead_seconds: float) -> CheckResult:
    seen = f"Redis's is {ahead_seconds:+.1f} s against this one"
    remedy = "keep time with NTP: a busy worker would be taken for dead"
    if abs(ahead_seconds) > _MAX_SKEW_SECONDS:
        return fail("clock", seen, remedy)
    if abs(ahead_seconds) > _SKEW_SECONDS:
        return warn("clock", seen, remedy)
    return ok("clock", seen)


def _reconciler(runs_dir: Path, interval_seconds: float) -> CheckResult:
    remedy = "start one, or two: python -m worker.reconciler"
    silence = _reconciler_silence(runs_dir)
    if silence is None:
        return fail("reconciler", f"none has ever looked into {runs_dir}", remedy)
    seen = f"looked for lost work {silence:.0f} s ago"
    if silence > max(SILENT_SECONDS, 5 * interval_seconds):
        return fail("reconciler", seen, remedy)
    return ok("reconciler", seen)


def _reconciler_silence(runs_dir: Path) -> float | None:
    try:
        return abs(time.time() - (runs_dir / LOCK_NAME).stat().st_mtime)
    except OSError:
        return None


def _worker_silence(redis_url: str | None, settings: WorkerSettings) -> float | None:
    if redis_url is None:
        return None
    try:
        return look_at_queue(redis_url, settings).silence_seconds
    except QueueUnavailableError:
        return None


def _progress(unfinished: list[Run]) -> CheckResult:
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


def _workers(queue: QueueFacts, unfinished: int) -> CheckResult:
    seen = f"{queue.waiting} pieces of work wait, {unfinished} jobs are unfinished"
    remedy = "start workers: kennel up, docker compose up -d, python -m worker.main"
    if queue.silence_seconds is None:
        idle = not unfinished and not queue.waiting
        return (warn if idle else fail)("workers", f"none; {seen}", remedy)
    spoken = f"heard of {queue.silence_seconds:.0f} s ago"
    seen = f"{len(queue.workers)} on {_hosts(queue.workers)}, {spoken}; {seen}"
    if queue.silence_seconds > 2 * WORKER_TTL_SECONDS:
        return fail("workers", seen, remedy)
    return ok("workers", seen)


def _hosts(workers: Sequence[RegisteredWorker]) -> str:
    return _named({each.host for each in workers})


def _versions(workers: Sequence[RegisteredWorker]) -> CheckResult:
    other = {
        f"{each.host} {each.version or 'older'}"
        for each in workers
        if each.version != VERSION
    }
    if other:
        seen = f"here {VERSION}, but {_named(other)}"
        remedy = "finish the upgrade: docker compose up -d --build worker reconciler"
        return warn("versions", seen, remedy)
    return ok("versions", f"all workers run {VERSION}, as this does")


def _clocks(workers: Sequence[RegisteredWorker]) -> CheckResult:
    known = [each for each in workers if each.clock_ahead_seconds is not None]
    if not known:
        return unknown(
            "worker clocks", "no worker reported its own", "restart the workers"
        )
    worst = max(known, key=lambda each: abs(each.clock_ahead_seconds or 0.0))
    ahead = worst.clock_ahead_seconds or 0.0
    seen = f"that of {worst.host} was {ahead:+.1f} s against Redis's when it began"
    remedy = f"keep time with NTP on {worst.host}: times of jobs and files mislead"
    if abs(ahead) > _MAX_WORKER_SKEW_SECONDS:
        return fail("worker clocks", seen, remedy)
    if abs(ahead) > _WORKER_SKEW_SECONDS:
        return warn("worker clocks", seen, remedy)
    return ok("worker clocks", seen)


def _oldest(seconds: float | None) -> CheckResult:
    if seconds is None:
        return ok("oldest", "nothing waits")
    seen = f"the first in the queue has waited for {seconds:.0f} s"
    if seconds > OLD_SECONDS:
        remedy = "see workers and model-server; docker compose logs worker --tail 50"
        return warn("oldest", seen, remedy)
    return ok("oldest", seen)


def _named(names: Iterable[str]) -> str:
    shown = sorted(names)
    more = f" and {len(shown) - _NAMED} more" if len(shown) > _NAMED else ""
    return ", ".join(shown[:_NAMED]) + more

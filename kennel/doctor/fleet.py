"""Processes that belong together but were upgraded, or set their clocks, apart."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Final

from kennel.doctor.finding import Finding, fail, ok, unknown, warn
from models import VERSION
from worker.process import WORKER_TTL_SECONDS
from worker.queue_health import QueueFacts
from worker.registered import RegisteredWorker

OLD_SECONDS: Final = 600.0
"""Work is queued only as far as workers are about to take it: a few shards ahead."""

_SKEW_SECONDS: Final = 2.0
_MAX_SKEW_SECONDS: Final = 30.0
_NAMED: Final = 5


def check_fleet(queue: QueueFacts, unfinished: int) -> Iterator[Finding]:
    """The workers that are there, and how long the first in the queue has waited."""
    yield _workers(queue, unfinished)
    if queue.workers:
        yield _versions(queue.workers)
        yield _clocks(queue.workers)
    yield _oldest(queue.oldest_seconds)


def _workers(queue: QueueFacts, unfinished: int) -> Finding:
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


def _versions(workers: Sequence[RegisteredWorker]) -> Finding:
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


def _clocks(workers: Sequence[RegisteredWorker]) -> Finding:
    known = [each for each in workers if each.clock_ahead_seconds is not None]
    if not known:
        return unknown("worker clocks", "no worker told its own", "restart the workers")
    worst = max(known, key=lambda each: abs(each.clock_ahead_seconds or 0.0))
    ahead = worst.clock_ahead_seconds or 0.0
    seen = f"that of {worst.host} was {ahead:+.1f} s against Redis's when it began"
    remedy = f"keep time with NTP on {worst.host}: times of jobs and files mislead"
    if abs(ahead) > _MAX_SKEW_SECONDS:
        return fail("worker clocks", seen, remedy)
    if abs(ahead) > _SKEW_SECONDS:
        return warn("worker clocks", seen, remedy)
    return ok("worker clocks", seen)


def _oldest(seconds: float | None) -> Finding:
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

"""What is queued when: a few shards at a time, given out fairly among the unfinished runs.

The queue is a window. Whoever begins a shard gives the place that became free to a run:
to one of the highest priority that lacks work; among those to the one with the fewest
shards in work; among those to the one whose last shard is longest ago. So Redis stays
small, workers find work, and a small job is a shard or two a worker behind a big one.
"""

from __future__ import annotations

import heapq
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

from models.errors import NotFoundError
from worker.attempts import ASSEMBLY, attempts_left, give_up, shard_work
from worker.request import HIGH, PRIORITIES
from worker.run import Run
from worker.runs import find_unfinished
from worker.snapshot import Snapshot
from worker.turns import in_turn
from worker.worklist import WorkList

SMALLEST_WINDOW: Final = 4
SHARDS_PER_WORKER: Final = 2
"""One that is worked on and one that waits, so that nobody is idle."""

_log = logging.getLogger("kennel.dispatch")


class _Candidate(NamedTuple):
    rank: int
    live: int
    served_ns: int
    job_id: str


def top_up(runs_dir: Path, work_list: WorkList) -> None:
    """Give the free places of the window to runs that lack work.

    Left out if others do the same for a second on end: they, or the reconciler, give
    the places out.

    Raises:
        QueueUnavailableError: Redis is away.
        OSError: *runs_dir* cannot be opened.
    """
    with in_turn(runs_dir) as mine:
        if not mine:
            return
        seen = work_list.look()
        window = max(SMALLEST_WINDOW, SHARDS_PER_WORKER * seen.workers)
        free = window - seen.shards
        plan = _plan(runs_dir, work_list, seen) if free > 0 else iter(())
        for job_id, work in plan:
            front = work == ASSEMBLY or seen.announced[job_id] == HIGH
            work_list.add(job_id, work, at_front=front)
            free -= work != ASSEMBLY
            if free == 0:
                return


def queue_assembly(run: Run, work_list: WorkList) -> None:
    """Queue the assembly of a run whose shards are all there, in front of all shards.

    Raises:
        QueueUnavailableError: Redis is away.
        OSError: the run's directory cannot be read, or the disk is full.
    """
    with in_turn(run.folder.parent) as mine:
        if not mine or ASSEMBLY in work_list.look().works(run.id):
            return
        if _may_begin(run, ASSEMBLY):
            work_list.add(run.id, ASSEMBLY, at_front=True)


def _plan(
    runs_dir: Path, work_list: WorkList, seen: Snapshot
) -> Iterator[tuple[str, str]]:
    candidates = [
        _candidate(runs_dir, job_id, priority, len(seen.works(job_id)))
        for job_id, priority in seen.announced.items()
    ]
    heapq.heapify(candidates)
    lost: dict[str, Iterator[str]] = {}
    while candidates:
        first = candidates[0]
        if first.job_id not in lost:
            lost[first.job_id] = _lost_works(runs_dir, work_list, seen, first.job_id)
        work = next(lost[first.job_id], None)
        if work is None:
            heapq.heappop(candidates)
            continue
        yield first.job_id, work
        heapq.heapreplace(candidates, first._replace(live=first.live + 1))


def _candidate(runs_dir: Path, job_id: str, priority: str, live: int) -> _Candidate:
    rank = PRIORITIES.index(priority) if priority in PRIORITIES else len(PRIORITIES)
    try:
        served_ns = (runs_dir / job_id / "shards").stat().st_mtime_ns
    except (OSError, ValueError):
        served_ns = 0
    return _Candidate(rank, live, served_ns, job_id)


def _lost_works(
    runs_dir: Path, work_list: WorkList, seen: Snapshot, job_id: str
) -> Iterator[str]:
    run = find_unfinished(runs_dir, job_id)
    if run is None:
        work_list.retire(job_id)
        return
    try:
        missing = [shard_work(number) for number in run.missing_shards()] or [ASSEMBLY]
        for work in missing:
            if work in seen.works(job_id):
                continue
            if not _may_begin(run, work):
                return
            yield work
    except (NotFoundError, OSError) as error:
        # The reconciler tells about such a run; the others go on.
        _log.debug("run %s: %s", run.id, error)


def _may_begin(run: Run, work: str) -> bool:
    if attempts_left(run, work) > 0:
        return True
    give_up(run, work)
    _log.warning("run %s failed: %s has used up its attempts", run.id, work)
    return False

"""What is queued when: a few shards at a time, given out fairly among the unfinished runs.

The queue is a window. Whoever begins a shard gives the place that became free to the run
whose turn it is (`worker.sharing`). So Redis stays small, workers find work, and a small
job is a shard or two a worker behind a big one.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from models.errors import NotFoundError
from worker.absence import PHOTOS, read_absence
from worker.attempts import ASSEMBLY, attempts_left, give_up, shard_work
from worker.run import Run
from worker.runs import find_unfinished
from worker.sharing import find_candidates, whose_turn
from worker.snapshot import Snapshot
from worker.turns import in_turn
from worker.worklist import WorkList

SMALLEST_WINDOW: Final = 4
SHARDS_PER_WORKER: Final = 2
"""One that is worked on and one that waits, so that nobody is idle."""

_log = logging.getLogger("kennel.dispatch")


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
            # Shards of any priority stand in line: none is overtaken again and again.
            work_list.add(job_id, work, at_front=work == ASSEMBLY)
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
    candidates = {each.job_id: each for each in find_candidates(runs_dir, seen)}
    lost: dict[str, Iterator[str]] = {}
    given = seen.given
    while candidates:
        chosen = whose_turn(candidates.values(), given)
        job_id = chosen.job_id
        if job_id not in lost:
            lost[job_id] = _lost_works(runs_dir, work_list, seen, job_id)
        work = next(lost[job_id], None)
        if work is not None:
            yield job_id, work
            given += work != ASSEMBLY
        if work is None or chosen.awaits:
            del candidates[job_id]
        else:
            live, moment = chosen.live + 1, time.time_ns()
            candidates[job_id] = chosen._replace(live=live, served_ns=moment)


def _lost_works(
    runs_dir: Path, work_list: WorkList, seen: Snapshot, job_id: str
) -> Iterator[str]:
    run = find_unfinished(runs_dir, job_id)
    if run is None:
        work_list.retire(job_id)
        return
    try:
        for work in _missing(run):
            if work in seen.works(job_id):
                continue
            if not _may_begin(run, work):
                return
            yield work
    except (NotFoundError, OSError) as error:
        # The reconciler tells about such a run; the others go on.
        _log.debug("run %s: %s", run.id, error)


def _missing(run: Run) -> list[str]:
    missing = [shard_work(number) for number in run.missing_shards()]
    absence = read_absence(run.folder)
    if absence is not None and absence.awaits == PHOTOS:
        # One photo that cannot be read must not hold up the other shards.
        missing.sort(key=lambda work: work == absence.work)
    return missing or [ASSEMBLY]


def _may_begin(run: Run, work: str) -> bool:
    if attempts_left(run, work) > 0:
        return True
    give_up(run, work)
    _log.warning("run %s failed: %s has used up its attempts", run.id, work)
    return False

"""Finds work that got lost and queues it again; may run anywhere, any number of times.

    python -m worker.reconciler

A killed worker, a Redis that lost its data, a submit that broke off after the manifest:
all end in a shard without artefact that nobody works on. One run that cannot be looked
after does not keep the others from it.
"""

from __future__ import annotations

import fcntl
import logging
import os
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError, NotFoundError, QueueUnavailableError
from worker.dispatch import queue_assembly, top_up
from worker.drafts import PARTS, remove_abandoned
from worker.logs import set_up_worker_logging
from worker.retention import FOR_EVER, Retention, enforce_retention
from worker.run import Run
from worker.runs import all_runs
from worker.settings import WorkerSettings
from worker.signals import end_on_signals
from worker.worklist import WorkList

LOCK_NAME: Final = ".reconciler.lock"
"""In RUNS_DIR; opened at every look, so its time says when the last one was."""

_log = logging.getLogger("kennel.reconciler")


def reconcile(
    runs_dir: Path, work_list: WorkList, retention: Retention = FOR_EVER
) -> frozenset[str]:
    """Queue what unfinished runs lack; fail those whose attempts are used up.

    Runs that ended longer ago than *retention* says are deleted. Returns what is wrong
    with runs that nobody can work on; the others are looked after.

    Raises:
        QueueUnavailableError: Redis is away; nothing is lost, try again later.
        OSError: *runs_dir* cannot be read, or its disk is full or read-only.
    """
    troubles = set()
    with _alone(runs_dir) as alone:
        if not alone:
            return frozenset()
        remove_abandoned(runs_dir)
        work_list.clear_stuck()
        unfinished = {}
        runs = all_runs(runs_dir)
        for run in runs:
            try:
                if not run.is_over:
                    unfinished[run.id] = _look_after(run, work_list)
            except (NotFoundError, OSError) as error:
                troubles.add(f"run {run.id} is left out: {error}")
        work_list.announce(unfinished)
        top_up(runs_dir, work_list)
        enforce_retention(runs, retention)
    return frozenset(troubles)


def _look_after(run: Run, work_list: WorkList) -> str:
    for name in PARTS:
        # Somebody who wanted room may have removed them.
        (run.folder / name).mkdir(exist_ok=True)
    if not run.missing_shards():
        queue_assembly(run, work_list)
    return run.manifest.request.priority


def main() -> int:
    """Reconcile for ever; the entry of the process."""
    try:
        set_up_worker_logging(os.environ)
        settings = WorkerSettings.from_env(os.environ)
    except InvalidRequestError as error:
        _log.error("cannot start: %s", error)
        return 2
    work_list = WorkList(settings.redis_url, settings.queue_name)
    _log.info("looking for lost work every %g s", settings.reconcile_seconds)
    end_on_signals()
    told: frozenset[str] = frozenset()
    try:
        while True:
            told = _reconcile_or_tell(settings, work_list, told)
            time.sleep(settings.reconcile_seconds)
    except KeyboardInterrupt:
        _log.info("stopped")
    return 0


def _reconcile_or_tell(
    settings: WorkerSettings, work_list: WorkList, told: frozenset[str]
) -> frozenset[str]:
    try:
        troubles = reconcile(settings.runs_dir, work_list, settings.retention)
    except (QueueUnavailableError, OSError) as error:
        troubles = frozenset({str(error)})
    for trouble in sorted(troubles - told):
        _log.warning("%s", trouble)
    if told and not troubles:
        _log.info("works again")
    return troubles


@contextmanager
def _alone(runs_dir: Path) -> Iterator[bool]:
    runs_dir.mkdir(parents=True, exist_ok=True)
    with (runs_dir / LOCK_NAME).open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


if __name__ == "__main__":
    sys.exit(main())

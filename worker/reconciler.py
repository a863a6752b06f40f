"""Finds work that got lost and queues it again; may run anywhere, any number of times.

    python -m worker.reconciler

A killed worker, a Redis that lost its data, a submit that broke off after the manifest:
all end in a shard without artefact that nobody works on.
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

from models.errors import InvalidRequestError, NotFoundError, QueueUnavailableError
from worker.attempts import ASSEMBLY, attempts_left, give_up, shard_work
from worker.drafts import remove_abandoned
from worker.logs import set_up_worker_logging
from worker.run import Run
from worker.runs import all_runs
from worker.settings import WorkerSettings
from worker.signals import end_on_signals
from worker.worklist import WorkList

_log = logging.getLogger("kennel.reconciler")


def reconcile(runs_dir: Path, work_list: WorkList) -> None:
    """Queue what unfinished runs lack; fail those whose attempts are used up.

    Raises:
        QueueUnavailableError: Redis is away; nothing is lost, try again later.
        OSError: the disk is full or read-only.
    """
    with _alone(runs_dir) as alone:
        if not alone:
            return
        remove_abandoned(runs_dir)
        work_list.clear_stuck()
        for run in all_runs(runs_dir):
            if not run.is_over:
                # A run whose manifest is unreadable cannot be queued or failed.
                _reconcile_readable(run, work_list)


def reconcile_run(run: Run, work_list: WorkList) -> None:
    """Queue what *run* lacks and nobody works on.

    Raises:
        NotFoundError: its manifest cannot be read.
        QueueUnavailableError: Redis is away.
        OSError: the disk is full or read-only.
    """
    missing = [shard_work(number) for number in run.missing_shards()] or [ASSEMBLY]
    live = work_list.live(run.id, missing)
    lost = [work for work in missing if work not in live]
    for work in lost:
        if attempts_left(run, work) == 0:
            give_up(run, work)
            _log.warning("run %s failed: %s has used up its attempts", run.id, work)
            return
    if lost:
        work_list.add(run.id, lost)
        _log.info("run %s: queued %d pieces of work", run.id, len(lost))


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
    trouble = ""
    try:
        while True:
            trouble = _reconcile_or_tell(settings.runs_dir, work_list, trouble)
            time.sleep(settings.reconcile_seconds)
    except KeyboardInterrupt:
        _log.info("stopped")
    return 0


def _reconcile_or_tell(runs_dir: Path, work_list: WorkList, trouble: str) -> str:
    try:
        reconcile(runs_dir, work_list)
    except (QueueUnavailableError, OSError) as error:
        if str(error) != trouble:
            _log.warning("%s", error)
        return str(error)
    if trouble:
        _log.info("works again")
    return ""


def _reconcile_readable(run: Run, work_list: WorkList) -> None:
    try:
        reconcile_run(run, work_list)
    except NotFoundError as error:
        _log.debug("run %s: %s", run.id, error)


@contextmanager
def _alone(runs_dir: Path) -> Iterator[bool]:
    runs_dir.mkdir(parents=True, exist_ok=True)
    with (runs_dir / ".reconciler.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
            return
        yield True


if __name__ == "__main__":
    sys.exit(main())

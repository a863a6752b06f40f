"""The two functions that RQ runs: a shard of a run, and the assembly of its CSV.

They are composition roots: they read the environment and open what the work needs,
after the fork. Both may run any number of times.
"""

from __future__ import annotations

import logging
import os
import threading
from contextlib import AbstractContextManager
from functools import partial

from models.errors import QueueUnavailableError
from models.images.files import limit_pixels
from models.wire.client import ModelServerClient
from worker.absence import PHOTOS, is_awaited, lift, read_absence
from worker.asking import HOLD_SECONDS, patient_ask
from worker.assembly import assemble_run
from worker.attempting import Attempt
from worker.attempts import ASSEMBLY, shard_work
from worker.disk import check_descriptors, outlast_full_disk
from worker.dispatch import queue_assembly
from worker.online import OnlineTraffic
from worker.patience import Patience
from worker.photos import job_folder
from worker.run import Run
from worker.runs import find_unfinished
from worker.settings import WorkerSettings
from worker.shards import finish_shard
from worker.sources.roots import open_results, open_root
from worker.sources.waiting import RESULTS_WAIT_SECONDS, SHARD_WAIT_SECONDS, Waiting
from worker.worklist import WorkList
from worker.yielding import Courtesy

LEAVING = threading.Event()
"""Set in the job's own process when its worker is told to stop: a shard that can go on
finishes, one that waits for a model or for photos gives up at once."""

_log = logging.getLogger("kennel.worker")


def predict_shard(job_id: str, shard_number: int) -> None:
    """Work one shard; whoever completes the set queues the assembly.

    Raises:
        KennelError, OSError: trouble that may pass; RQ runs the shard again.
    """
    settings = WorkerSettings.from_env(os.environ)
    limit_pixels(settings.max_pixels)
    run = find_unfinished(settings.runs_dir, str(job_id))
    if run is None or not 0 <= shard_number < run.manifest.shard_count:
        return
    absence = read_absence(run.folder)
    if absence is not None and not absence.may_ask:
        # Queued before its wait began; the dispatch queues one in time.
        return
    with run.working():
        with _attempt(run, shard_work(shard_number), settings) as begun:
            if begun:
                work = partial(_work, run, shard_number, settings)
                outlast_full_disk(run, work, LEAVING.wait)
        if not run.is_over and not run.missing_shards():
            _queue_assembly(run, settings)


def assemble(job_id: str) -> None:
    """Write the CSV of a run whose shards are all there.

    Raises:
        KennelError, OSError: trouble that may pass; RQ runs the assembly again.
    """
    settings = WorkerSettings.from_env(os.environ)
    run = find_unfinished(settings.runs_dir, str(job_id))
    if run is None or run.missing_shards():
        return
    with run.working(), _attempt(run, ASSEMBLY, settings) as begun:
        if not begun:
            return
        waiting = _storage_waiting(run, RESULTS_WAIT_SECONDS)
        results = open_results(settings.results, waiting)
        work = partial(assemble_run, run, results)
        damaged = outlast_full_disk(run, work, LEAVING.wait)
        if damaged:
            _log.warning("run %s: shards %s are damaged, again", run.id, damaged)
        elif run.report.exists():
            _log.info("run %s: submission.csv is complete", run.id)
        else:
            _log.warning("run %s ended without a CSV", run.id)


def _attempt(
    run: Run, work: str, settings: WorkerSettings
) -> AbstractContextManager[bool]:
    return Attempt(run, work, LEAVING, settings.model_wait_seconds).begun()


def _work(run: Run, number: int, settings: WorkerSettings) -> None:
    # gRPC ends its process when it cannot open what it needs.
    check_descriptors()
    run.begin()
    held = 0.0 if is_awaited(run, PHOTOS) else SHARD_WAIT_SECONDS
    root = open_root(settings.inputs, _storage_waiting(run, held))
    folder = job_folder(run, root)
    over = threading.Event()
    patience = Patience(
        wait_seconds=HOLD_SECONDS,
        pause=LEAVING.wait,
        is_over=lambda: over.is_set() or run.is_over,
    )
    courtesy = Courtesy(
        OnlineTraffic(settings.redis_url),
        pause=lambda seconds: LEAVING.wait(seconds) or run.is_over,
    )
    with ModelServerClient(settings.model_server) as client:
        ask = partial(courtesy.ask, patient_ask(run, client, patience))
        try:
            images = finish_shard(run, number, folder, ask, courtesy.load)
        finally:
            over.set()
    lift(run, PHOTOS)
    if images:
        _log.info("run %s: shard %d done, %d images", run.id, number, images)


def _storage_waiting(run: Run, seconds: float) -> Waiting:
    return Waiting(seconds, lambda s: LEAVING.wait(s) or run.is_over)


def _queue_assembly(run: Run, settings: WorkerSettings) -> None:
    try:
        queue_assembly(run, WorkList(settings.redis_url, settings.queue_name))
    except QueueUnavailableError as error:
        _log.warning("run %s: assembly is left to the reconciler: %s", run.id, error)

"""The worker's entry: ``python -m worker.main``.

Start as many as there is model capacity for, and one ``python -m worker.reconciler``.
"""

from __future__ import annotations

import logging
import os
import sys
import time
from functools import partial
from typing import Final

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue
from rq.serializers import JSONSerializer

from models.errors import InvalidRequestError, QueueUnavailableError
from worker.allowed import AllowedJob
from worker.dispatch import top_up
from worker.logs import set_up_worker_logging
from worker.process import (
    HEARTBEAT_INTERVAL_SECONDS,
    WORKER_TTL_SECONDS,
    ShardWorker,
)
from worker.settings import WorkerSettings
from worker.signals import end_on_signals
from worker.sources.roots import load_drivers
from worker.worklist import WorkList

FIRST_PAUSE_SECONDS: Final = 0.5
LONGEST_PAUSE_SECONDS: Final = 5.0

_log = logging.getLogger("kennel.worker")


def main() -> int:
    """Work until told to stop; the entry of the process."""
    try:
        set_up_worker_logging(os.environ)
        settings = WorkerSettings.from_env(os.environ)
        load_drivers(settings.inputs, settings.results)
    except InvalidRequestError as error:
        _log.error("cannot start: %s", error)
        return 2
    end_on_signals()
    try:
        while not _serve(settings):
            _log.warning("lost Redis, starting over")
            time.sleep(FIRST_PAUSE_SECONDS)
    except KeyboardInterrupt:
        _log.debug("told to stop while waiting")
    _log.info("stopped")
    return 0


def _serve(settings: WorkerSettings) -> bool:
    _wait_for_redis(settings)
    worker = None
    try:
        worker = _make_worker(settings)
        _log.info("waiting for shards")
        worker.work(logging_level="WARNING")
    except RedisError as error:
        _log.debug("Redis: %s", error)
    finally:
        # The worker's handlers would swallow the signal that ends a later wait.
        end_on_signals()
    return worker is not None and worker.leaving


def _make_worker(settings: WorkerSettings) -> ShardWorker:
    connection = Redis.from_url(settings.redis_url)
    queue = Queue(
        settings.queue_name,
        connection=connection,
        job_class=AllowedJob,
        serializer=JSONSerializer,
    )
    # One queue: with several, RQ loses the job of a worker that dies while fetching.
    worker = ShardWorker(
        [queue],
        connection=connection,
        job_class=AllowedJob,
        serializer=JSONSerializer,
        worker_ttl=WORKER_TTL_SECONDS,
        job_monitoring_interval=HEARTBEAT_INTERVAL_SECONDS,
        log_job_description=False,
    )
    # Here and not in the job's process: the connection and the manifests stay.
    work_list = WorkList(settings.redis_url, settings.queue_name)
    worker.give_place_on = partial(top_up, settings.runs_dir, work_list)
    return worker


def _wait_for_redis(settings: WorkerSettings) -> None:
    work_list = WorkList(settings.redis_url, settings.queue_name)
    pause_seconds = FIRST_PAUSE_SECONDS
    told = False
    while True:
        try:
            work_list.ping()
        except QueueUnavailableError as error:
            if not told:
                _log.warning("waiting for Redis: %s", error)
            told = True
        else:
            return
        time.sleep(pause_seconds)
        pause_seconds = min(2 * pause_seconds, LONGEST_PAUSE_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

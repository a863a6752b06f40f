"""Jobs that no worker will finish: fetched and never begun, or unreadable.

RQ's own remedy needs a minute, reads the jobs it mends (and dies of one that cannot be
read), and leaves a lock behind. This one drops the id; the reconciler, which knows what
the runs lack, queues it again.
"""

from __future__ import annotations

import time
from collections.abc import Container, Iterable
from typing import Any, Final

from rq import Queue
from rq.exceptions import NoSuchJobError
from rq.worker_registration import clean_worker_registry

from worker.allowed import AllowedJob
from worker.liveness import drop_dead

STUCK_SECONDS: Final = 5.0
"""A job that a worker fetched but has not begun after so long is taken for lost."""


def clear(queue: Queue) -> None:
    """Drop what is stuck between queue and worker, and entries that have expired.

    Raises:
        RedisError: Redis is away.
    """
    fetched: Any = queue.connection.lrange(queue.intermediate_queue_key, 0, -1)
    for raw in fetched:
        id_ = raw.decode(errors="replace")
        if _is_stuck(queue, id_):
            queue.connection.lrem(queue.intermediate_queue_key, 0, raw)
            forget(queue, id_)
    _drop_expired(queue)


def forget(queue: Queue, id_: str) -> None:
    """Remove all that Redis holds of a job.

    Raises:
        RedisError: Redis is away.
    """
    forget_all(queue, [id_], {id_})


def forget_all(queue: Queue, ids: Iterable[str], listed: Container[str]) -> None:
    """As `forget` for each of *ids*; only those in *listed* may be in the queue.

    Raises:
        RedisError: Redis is away.
    """
    # Not Job.delete(): it reads the job first, and this one may be unreadable.
    with queue.connection.pipeline() as pipeline:
        for id_ in ids:
            for name in ("job", "results", "executions", "kennel:fetched"):
                pipeline.delete(f"rq:{name}:{id_}")
            if id_ in listed:
                pipeline.lrem(queue.key, 0, id_)
                pipeline.lrem(queue.intermediate_queue_key, 0, id_)
            for kind in ("failed", "finished"):
                pipeline.zrem(f"rq:{kind}:{queue.name}", id_)
        pipeline.execute()


def _is_stuck(queue: Queue, id_: str) -> bool:
    connection = queue.connection
    try:
        AllowedJob.fetch(id_, connection=connection)
    except NoSuchJobError:
        return True
    key, moment = f"rq:kennel:fetched:{id_}", time.time()
    if connection.set(key, moment, nx=True, ex=20):
        return False
    first_seen: Any = connection.get(key)
    return first_seen is None or moment - float(first_seen) >= STUCK_SECONDS


def _drop_expired(queue: Queue) -> None:
    # What RQ's own maintenance would remove; entries are scored by their expiry.
    drop_dead(queue)
    for kind in ("failed", "finished"):
        queue.connection.zremrangebyscore(f"rq:{kind}:{queue.name}", 0, time.time())
    clean_worker_registry(queue)

"""The work list in Redis: what is queued, what is being worked on, what got stuck.

RQ's ids are derived from the run and the shard, so that nothing is queued twice. Redis
may forget everything: the run directories are the truth. RQ's own maintenance is not
used; one of its workers that dies in it would stop all recovery for a quarter hour.
"""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from functools import cached_property
from typing import Any, Final

from rq import Queue
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from worker import stuck
from worker.allowed import AllowedJob
from worker.connections import CONNECT_SECONDS, connect, probing, translated
from worker.enqueuing import enqueue
from worker.eviction import check_keeps_work
from worker.queue_figures import QueueFigures, read_queue_figures
from worker.snapshot import ANNOUNCED_KEY, Snapshot, take_snapshot, work_id

QUEUE_NAME: Final = "kennel"


class WorkList:
    """The queue of one kennel; connects when it is first used."""

    def __init__(self, redis_url: str, queue_name: str = QUEUE_NAME) -> None:
        """Use the queue *queue_name* of the Redis at *redis_url*."""
        self._redis_url = redis_url
        self.queue_name = queue_name

    def ping(self, timeout_seconds: float = CONNECT_SECONDS) -> None:
        """See that Redis answers, takes writes and keeps them.

        Raises:
            QueueUnavailableError: it does not; nothing can be queued now.
        """
        with translated(), probing(self._redis_url, timeout_seconds) as probe:
            # A full or read-only Redis answers PING, but queues nothing.
            probe.set("rq:kennel:ping", "1", ex=60)
            check_keeps_work(probe)

    def figures(self, timeout_seconds: float) -> QueueFigures:
        """What monitoring needs to know of the queue.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with translated(), probing(self._redis_url, timeout_seconds) as probe:
            return read_queue_figures(probe, self.queue_name)

    def look(self) -> Snapshot:
        """What is queued and worked on now.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with translated():
            return take_snapshot(self._queue)

    def announce(self, priorities: Mapping[str, str]) -> None:
        """Note jobs that lack work, with their priority.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        if priorities:
            with translated():
                fields: dict[Any, Any] = dict(priorities)
                self._queue.connection.hset(ANNOUNCED_KEY, mapping=fields)

    def retire(self, job_id: str) -> None:
        """Forget that a job lacked work.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with translated():
            self._queue.connection.hdel(ANNOUNCED_KEY, job_id)

    def add(self, job_id: str, work: str, *, at_front: bool = False) -> None:
        """Queue a shard (by number) or the assembly, unless it is live.

        Raises:
            QueueUnavailableError: Redis is away; it may be queued.
        """
        with translated():
            try:
                enqueue(self._queue, job_id, work, at_front=at_front)
            except DuplicateJobError:
                # Of an attempt that died or failed; or somebody else was faster.
                if work in take_snapshot(self._queue).works(job_id):
                    return
                stuck.forget(self._queue, work_id(job_id, work))
                with suppress(DuplicateJobError):
                    enqueue(self._queue, job_id, work, at_front=at_front)

    def clear_stuck(self) -> None:
        """Drop jobs that a worker fetched and never began, or could not read.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with translated():
            stuck.clear(self._queue)

    @cached_property
    def _queue(self) -> Queue:
        return Queue(
            self.queue_name,
            connection=connect(self._redis_url),
            job_class=AllowedJob,
            serializer=JSONSerializer,
        )

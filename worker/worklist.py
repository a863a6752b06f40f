"""The work list in Redis: what is queued, what is being worked on, what got stuck.

RQ's ids are derived from the run and the shard, so that nothing is queued twice. Redis
may forget everything: the run directories are the truth. RQ's own maintenance is not
used; one of its workers that dies in it would stop all recovery for a quarter hour.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from datetime import UTC, datetime, timedelta
from functools import cached_property
from typing import Any, Final

from redis import Redis
from redis.backoff import ConstantBackoff, NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry as ConnectionRetry
from rq import Queue, Retry
from rq.exceptions import DuplicateJobError
from rq.serializers import JSONSerializer

from models.errors import QueueUnavailableError
from worker import stuck
from worker.allowed import ASSEMBLE, PREDICT_SHARD, AllowedJob
from worker.attempts import ASSEMBLY
from worker.heartbeats import last_heartbeat, read_moment

QUEUE_NAME: Final = "kennel"
JOB_TIMEOUT_SECONDS: Final = 1800
"""Above the longest wait for a model plus a shard on a slow machine."""

HEARTBEAT_SECONDS: Final = 8.0
"""A started job whose worker has not spoken for so long is taken for dead."""

_RESULT_TTL_SECONDS: Final = 600
_FAILURE_TTL_SECONDS: Final = 24 * 3600
_CONNECT_SECONDS: Final = 2.0
_ANSWER_SECONDS: Final = 10.0


class WorkList:
    """The queue of one kennel; connects when it is first used."""

    def __init__(self, redis_url: str, queue_name: str = QUEUE_NAME) -> None:
        """Use the queue *queue_name* of the Redis at *redis_url*."""
        self._redis_url = redis_url
        self.queue_name = queue_name

    def ping(self, timeout_seconds: float = _CONNECT_SECONDS) -> None:
        """See that Redis answers and takes writes.

        Raises:
            QueueUnavailableError: it does not; nothing can be queued now.
        """
        with _translated(), self._probe(timeout_seconds) as probe:
            # A full or read-only Redis answers PING, but queues nothing.
            probe.set("rq:kennel:ping", "1", ex=60)

    def last_heartbeat(self, timeout_seconds: float) -> float | None:
        """When a worker of the queue spoke last, in seconds since the epoch.

        None: no worker is registered.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with _translated(), self._probe(timeout_seconds) as probe:
            return last_heartbeat(probe, self.queue_name)

    def add(self, job_id: str, works: Iterable[str]) -> None:
        """Queue shards (by number) or the assembly, none of which is `live`.

        Raises:
            QueueUnavailableError: Redis is away; some may be queued.
        """
        with _translated():
            for work in works:
                # The id may be taken by an attempt that died, or by one before a retry.
                stuck.forget(self._queue, work_id(job_id, work))
                with suppress(DuplicateJobError):
                    self._enqueue(job_id, work)

    def live(self, job_id: str, works: Iterable[str]) -> set[str]:
        """Those of *works* that wait or whose worker was heard of lately.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with _translated():
            ids = {work_id(job_id, work): work for work in works}
            listed = self._listed()
            alive = {work for id_, work in ids.items() if id_ in listed}
            others = [id_ for id_ in ids if id_ not in listed]
            with self._connection.pipeline(transaction=False) as pipeline:
                for id_ in others:
                    pipeline.hmget(AllowedJob.key_for(id_), "status", "last_heartbeat")
                answers = pipeline.execute(raise_on_error=False)
        spoken = zip(others, answers, strict=True)
        return alive | {ids[id_] for id_, answer in spoken if _beats(answer)}

    def clear_stuck(self) -> None:
        """Drop jobs that a worker fetched and never began, or could not read.

        Raises:
            QueueUnavailableError: Redis is away.
        """
        with _translated():
            stuck.clear(self._queue)

    def _probe(self, timeout_seconds: float) -> Redis:
        return Redis.from_url(
            self._redis_url,
            socket_timeout=timeout_seconds,
            socket_connect_timeout=timeout_seconds,
            retry=ConnectionRetry(NoBackoff(), 0),
        )

    @cached_property
    def _connection(self) -> Redis:
        # One quick retry: a pooled connection may be from before Redis' restart.
        return Redis.from_url(
            self._redis_url,
            socket_timeout=_ANSWER_SECONDS,
            socket_connect_timeout=_CONNECT_SECONDS,
            retry=ConnectionRetry(ConstantBackoff(0.1), 1),
        )

    @cached_property
    def _queue(self) -> Queue:
        return Queue(
            self.queue_name,
            connection=self._connection,
            job_class=AllowedJob,
            serializer=JSONSerializer,
        )

    def _enqueue(self, job_id: str, work: str) -> None:
        assembly = work == ASSEMBLY
        self._queue.enqueue_call(
            ASSEMBLE if assembly else PREDICT_SHARD,
            args=[job_id] if assembly else [job_id, int(work)],
            job_id=work_id(job_id, work),
            description=f"{work} of {job_id}",
            timeout=JOB_TIMEOUT_SECONDS,
            result_ttl=_RESULT_TTL_SECONDS,
            failure_ttl=_FAILURE_TTL_SECONDS,
            # No interval: RQ would park the job for a scheduler that does not run.
            retry=Retry(max=3),
            unique=True,
        )

    def _listed(self) -> set[str]:
        queue = self._queue
        with self._connection.pipeline() as pipeline:
            pipeline.lrange(queue.key, 0, -1)
            pipeline.lrange(queue.intermediate_queue_key, 0, -1)
            waiting, fetched = pipeline.execute()
        return {raw.decode(errors="replace") for raw in [*waiting, *fetched]}


def work_id(job_id: str, work: str) -> str:
    """RQ's id of a shard or of the assembly."""
    return f"{job_id}-{work}" if work == ASSEMBLY else f"{job_id}-s{work}"


@contextmanager
def _translated() -> Iterator[None]:
    try:
        yield
    except RedisError as error:
        message = f"the queue's Redis does not work ({error}): start it, then try again"
        raise QueueUnavailableError(message) from error


def _beats(answer: Any) -> bool:
    if not isinstance(answer, list) or answer[0] != b"started":
        return False
    last = read_moment(answer[1])
    age_limit = timedelta(seconds=HEARTBEAT_SECONDS)
    return last is not None and datetime.now(UTC) - last < age_limit

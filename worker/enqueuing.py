"""How a piece of work goes into RQ's queue, and what Redis keeps of it."""

from __future__ import annotations

from typing import Final

from rq import Queue, Retry

from worker.allowed import ASSEMBLE, PREDICT_SHARD
from worker.attempts import ASSEMBLY
from worker.snapshot import GIVEN_KEY, work_id

JOB_TIMEOUT_SECONDS: Final = 1800
"""Above the longest wait for a disk plus a shard on a slow machine."""

_RESULT_TTL_SECONDS: Final = 0
"""What a job did is in its run; Redis keeps nothing of it."""

_FAILURE_TTL_SECONDS: Final = 24 * 3600


def enqueue(queue: Queue, job_id: str, work: str, *, at_front: bool) -> None:
    """Queue a shard (by number) or the assembly.

    Raises:
        DuplicateJobError: Redis holds a job of that id, live or not.
        RedisError: Redis is away; it may be queued.
    """
    assembly = work == ASSEMBLY
    queue.enqueue_call(
        ASSEMBLE if assembly else PREDICT_SHARD,
        args=[job_id] if assembly else [job_id, int(work)],
        job_id=work_id(job_id, work),
        description=f"{work} of {job_id}",
        timeout=JOB_TIMEOUT_SECONDS,
        result_ttl=_RESULT_TTL_SECONDS,
        failure_ttl=_FAILURE_TTL_SECONDS,
        # No interval: RQ would park the job for a scheduler that does not run.
        retry=Retry(max=3),
        at_front=at_front,
        unique=True,
    )
    if not assembly:
        queue.connection.incr(GIVEN_KEY)

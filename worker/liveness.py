"""Which jobs are worked on: those whose worker spoke lately, by Redis's own clock.

Workers date their heartbeats by clocks of their own, which differ between machines and
may jump. The expiry that goes with each heartbeat is counted by Redis alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final

from rq import Queue

from worker.allowed import AllowedJob

HEARTBEAT_SECONDS: Final = 8.0
"""A started job whose worker has not spoken for so long is taken for dead."""

EXECUTION_TTL_SECONDS: Final = 60
"""How long Redis keeps an execution whose worker is silent."""

_LIST_TTL_SECONDS: Final = EXECUTION_TTL_SECONDS + 60
"""The list of a job's executions stays a minute longer: RQ's ExecutionRegistry.add."""

_ROUNDING_SECONDS: Final = 1.0


def living(queue: Queue, ids: Sequence[str]) -> set[str]:
    """Those of the jobs *ids* that have begun and whose worker was heard of lately.

    Raises:
        RedisError: Redis is away.
    """
    with queue.connection.pipeline(transaction=False) as pipeline:
        for id_ in ids:
            pipeline.hget(AllowedJob.key_for(id_), "status")
            pipeline.pttl(f"rq:executions:{id_}")
        answers = pipeline.execute(raise_on_error=False)
    pairs = zip(ids, answers[::2], answers[1::2], strict=True)
    return {id_ for id_, status, left in pairs if status == b"started" and _beats(left)}


def drop_dead(queue: Queue) -> None:
    """Forget the executions of which Redis heard nothing until they expired.

    Raises:
        RedisError: Redis is away.
    """
    started: Any = queue.connection.zrange(f"rq:wip:{queue.name}", 0, -1)
    for raw in started:
        if not queue.connection.exists(b"rq:execution:" + raw):
            queue.connection.zrem(f"rq:wip:{queue.name}", raw)


def _beats(left_milliseconds: Any) -> bool:
    if not isinstance(left_milliseconds, int):
        return False
    silent_seconds = _LIST_TTL_SECONDS - left_milliseconds / 1000
    # Negative: Redis's clock went back, and its worker has not spoken since.
    return -_ROUNDING_SECONDS < silent_seconds < HEARTBEAT_SECONDS

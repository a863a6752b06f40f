"""What Redis holds of the folder jobs at one moment, read in one transaction.

A job's hash moves from the queue to its worker through RQ's intermediate list and its
registry of started jobs; one transaction sees it in one of them.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from rq import Queue
from rq.worker_registration import WORKERS_BY_QUEUE_KEY

from worker.attempts import ASSEMBLY
from worker.liveness import living

ANNOUNCED_KEY: Final = "rq:kennel:unfinished"
"""Priority by job, of those that may still lack work; the reconciler restores it."""

GIVEN_KEY: Final = "rq:kennel:given"
"""How many shards were queued so far, of all jobs; only its remainder matters."""


@dataclass(frozen=True)
class Snapshot:
    """What is queued and what is being worked on.

    Attributes:
        announced: priority by job, of the jobs that may lack work.
        live: by job, the works that wait or whose worker was heard of lately.
        workers: registered workers, those that died a moment ago included.
        given: shards that were queued so far.
    """

    announced: Mapping[str, str]
    live: Mapping[str, frozenset[str]]
    workers: int
    given: int = 0

    def works(self, job_id: str) -> frozenset[str]:
        """The live works of one job."""
        return self.live.get(job_id, frozenset())

    @property
    def shards(self) -> int:
        """How many shards of all jobs are live."""
        return sum(len(works - {ASSEMBLY}) for works in self.live.values())


def take_snapshot(queue: Queue) -> Snapshot:
    """What Redis holds now.

    Raises:
        RedisError: Redis is away.
    """
    with queue.connection.pipeline() as pipeline:
        pipeline.lrange(queue.key, 0, -1)
        pipeline.lrange(queue.intermediate_queue_key, 0, -1)
        pipeline.zrange(f"rq:wip:{queue.name}", 0, -1)
        pipeline.hgetall(ANNOUNCED_KEY)
        pipeline.scard(WORKERS_BY_QUEUE_KEY % queue.name)
        pipeline.get(GIVEN_KEY)
        waiting, fetched, executions, announced, workers, given = pipeline.execute()
    listed = set(map(_text, [*waiting, *fetched]))
    started = {_text(each).partition(":")[0] for each in executions} - listed
    live = listed | living(queue, sorted(started))
    priorities = {_text(job): _text(value) for job, value in announced.items()}
    return Snapshot(priorities, _by_job(live), workers, _number(given))


def work_id(job_id: str, work: str) -> str:
    """RQ's id of a shard or of the assembly."""
    return f"{job_id}-{work}" if work == ASSEMBLY else f"{job_id}-s{work}"


def _by_job(ids: Iterable[str]) -> dict[str, frozenset[str]]:
    found: dict[str, set[str]] = defaultdict(set)
    for id_ in ids:
        job_id, _, work = id_.rpartition("-")
        found[job_id].add(work if work == ASSEMBLY else work.removeprefix("s"))
    return {job_id: frozenset(works) for job_id, works in found.items()}


def _number(raw: bytes | None) -> int:
    return int(raw) if raw is not None and raw.isdigit() else 0


def _text(raw: bytes) -> str:
    return raw.decode(errors="replace")

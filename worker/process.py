"""The worker process: RQ's forking worker, made to be killed and to outlive Redis."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from types import FrameType
from typing import Any, Final

from redis import Redis
from redis.exceptions import RedisError
from rq import Queue, Worker
from rq.job import Job

from models.errors import KennelError
from worker import jobs
from worker.liveness import EXECUTION_TTL_SECONDS
from worker.registered import introduction

HEARTBEAT_INTERVAL_SECONDS: Final = 1
"""How often a busy worker speaks; a silent one is given up after some of these."""

WORKER_TTL_SECONDS: Final = 30
_PR_SET_PDEATHSIG: Final = 1

_log = logging.getLogger("kennel.worker")


class ShardWorker(Worker):
    """Forks a process for each job; recovery is the reconciler's, not RQ's.

    Attributes:
        leaving: told to stop, as opposed to having lost Redis.
        give_place_on: called beside the job's process when that has begun.
    """

    max_connection_wait_time = 5.0
    leaving = False
    give_place_on: Callable[[], None] | None = None

    def run_maintenance_tasks(self) -> None:
        """Nothing: RQ's maintenance runs callbacks, and can lock itself out."""

    @property
    def should_run_maintenance_tasks(self) -> bool:
        """Never."""
        return False

    def subscribe(self) -> None:
        """Nothing: commands over Redis (kill, stop, shut down) are not obeyed."""

    def _set_ip_address(self, connection: Redis) -> None:
        # RQ asks for CLIENT LIST, which the workers' user of Redis is not allowed.
        self.ip_address = "unknown"

    def serialize(self) -> dict[str, Any]:
        """RQ's entry of the worker, and what `kennel doctor` wants to know of it."""
        entry: dict[str, Any] = super().serialize()
        return {**entry, **introduction(self.connection)}

    def get_heartbeat_ttl(self, job: Job) -> int:
        """How long Redis keeps an execution whose worker is silent."""
        return EXECUTION_TTL_SECONDS

    def maintain_heartbeats(self, job: Job) -> None:
        """Speak, if Redis listens: its outage must not end the work."""
        with suppress(RedisError):
            super().maintain_heartbeats(job)

    def set_current_job_working_time(self, *arguments: Any, **options: Any) -> None:
        """As RQ's, if Redis listens."""
        with suppress(RedisError):
            super().set_current_job_working_time(*arguments, **options)

    def request_stop(self, signum: int, frame: FrameType | None) -> None:
        """Finish the job at hand, then stop."""
        self.leaving = True
        with suppress(RedisError):
            super().request_stop(signum, frame)  # type: ignore[no-untyped-call]

    def handle_warm_shutdown_request(self) -> None:
        """Tell the job's process, which may be waiting for a model."""
        if self.horse_pid:
            _log.info("told to stop: finishing the shard at hand")
            with suppress(ProcessLookupError):
                os.kill(self.horse_pid, signal.SIGUSR1)

    def fork_work_horse(self, job: Job, queue: Queue) -> None:
        """Begin the job, and meanwhile give its place in the queue on."""
        super().fork_work_horse(job, queue)
        if self.give_place_on is not None:
            try:
                self.give_place_on()
            except (KennelError, OSError) as error:
                _log.warning("the next shards are left to the reconciler: %s", error)

    def main_work_horse(self, job: Job, queue: Queue) -> None:
        """Run the job in the forked process, which dies with its worker."""
        _die_with(self.pid)
        super().main_work_horse(job, queue)

    def setup_work_horse_signals(self) -> None:
        """RQ's signals of the forked process, and the one that says to hurry."""
        super().setup_work_horse_signals()  # type: ignore[no-untyped-call]
        signal.signal(signal.SIGUSR1, lambda *_: jobs.LEAVING.set())

    def handle_work_horse_killed(self, *_: Any) -> None:
        """Nothing: RQ has said so in the line before."""

    def handle_exception(self, job: Job, *exc_info: Any) -> None:
        """One line for trouble that has a name, the traceback for what has none."""
        error = exc_info[1]
        if isinstance(error, KennelError | OSError):
            _log.warning("%s broke off: %s", job.id, error)
        else:
            _log.error("%s broke off", job.id, exc_info=exc_info)


def _die_with(parent: int | None) -> None:
    # Without it the process would outlive a killed worker and work beside its heir.
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)

"""Faults in a job's processes and neighbours, drawn at random."""

from __future__ import annotations

import random
import resource
import signal
import threading
from typing import Final

from tests.faults.ordeal import Ordeal, children_of, signal_all

WORKERS: Final = 2
OUTAGE_SECONDS: Final = 0.5


class Injections:
    """One seed's faults; the same seed draws the same ones in the same order."""

    def __init__(self, ordeal: Ordeal, seed: int) -> None:
        self._ordeal = ordeal
        self._random = random.Random(seed)
        self._faults = (
            self._kill_job_process,
            self._kill_worker,
            self._kill_worker_and_job_process,
            self._kill_redis,
            self._stop_model_server,
            self._kill_reconciler,
            self._fill_disk,
        )

    def inject(self) -> str:
        """Do the next one; what it was and whom it hit."""
        drawn = self._random.choice(self._faults)
        return drawn()

    def _kill_job_process(self) -> str:
        return _kill(self._draw_worker()[1:], "F1 job process")

    def _kill_worker(self) -> str:
        return _kill(self._draw_worker()[:1], "F3 worker")

    def _kill_worker_and_job_process(self) -> str:
        return _kill(self._draw_worker(), "F5 worker and job process")

    def _kill_reconciler(self) -> str:
        return _kill(self._ordeal.reconcilers(), "reconciler")

    def _kill_redis(self) -> str:
        self._ordeal.world.redis.kill()
        _wait(OUTAGE_SECONDS)
        self._ordeal.world.redis.start()
        return f"F6 Redis killed for {OUTAGE_SECONDS} s"

    def _stop_model_server(self) -> str:
        self._ordeal.world.model_server.stop()
        _wait(OUTAGE_SECONDS)
        self._ordeal.world.model_server.start()
        return f"F12 model server away for {OUTAGE_SECONDS} s"

    def _fill_disk(self) -> str:
        self._limit_files(0)
        _wait(OUTAGE_SECONDS)
        self._limit_files(resource.RLIM_INFINITY)
        return f"F22 no room for files for {OUTAGE_SECONDS} s"

    def _limit_files(self, size: int) -> None:
        # Workers before their children: those they fork later have their limit.
        writers = [*self._ordeal.workers(), *self._ordeal.reconcilers()]
        for pid in writers:
            _limit(pid, size)
        for pid in writers:
            for child in children_of(pid):
                _limit(child, size)

    def _draw_worker(self) -> list[int]:
        # Drawn even where there is none: the seed's later faults stay the same.
        drawn = self._random.randrange(WORKERS)
        workers = self._ordeal.workers()
        if drawn >= len(workers):
            return []
        return [workers[drawn], *children_of(workers[drawn])]


def _kill(pids: list[int], what: str) -> str:
    signal_all(pids, signal.SIGKILL)
    return f"{what} killed: {', '.join(map(str, pids)) or 'there was none'}"


def _limit(pid: int, size: int) -> None:
    try:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))
    except ProcessLookupError:
        return


def _wait(seconds: float) -> None:
    threading.Event().wait(seconds)

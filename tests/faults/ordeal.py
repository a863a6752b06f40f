"""One job in a small kennel, with the processes and files that faults hit."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.faults.heartbeats import expire_heartbeats, shards_of
from tests.faults.invariants import Promise, fingerprints
from tests.faults.job_watcher import Watch
from tests.faults.scripted_model import ScriptedModelServer
from tests.processes import wait_until
from tests.worker.world import SHARD_SIZE, World, begun_attempts, oracle, request
from worker.queue import JobStatus

PHOTOS = 48
BOUND_SECONDS = 90.0
"""What a job takes here is a few seconds, but the machine may be busy."""


class Ordeal:
    """A job, the processes that work on it, and a client that watches it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.brightness: list[int] = []
        self.job: JobStatus
        self.promise: Promise
        self.kept: subprocess.Popen[bytes]

    def submit(self, photos: int = PHOTOS) -> None:
        """Submit a job and watch it; nobody works on it yet."""
        self.brightness = self.world.photos_of(photos)
        expected = oracle(self.world, request())
        self.job = self.world.queue.submit(request())
        watch = Watch(self.world.queue, self.run, expected)
        self.promise = Promise(self.world, self.job, expected, watch)
        watch.start()

    def start(self, workers: int = 1, *redis_config: str) -> None:
        """Start a reconciler and workers, kept running as the launcher does.

        With a *redis_config* Redis too.
        """
        self.kept = self.world.start(
            "tests.faults.supervised_workers", str(workers), *redis_config
        )

    def start_skewed_worker(self, ahead_seconds: int) -> subprocess.Popen[bytes]:
        """Start a worker on a machine whose clock is wrong; it is not kept running."""
        return self.world.start("tests.faults.skewed_worker", str(ahead_seconds))

    def begin(self, workers: int = 1, photos: int = PHOTOS) -> None:
        """Bring a job into mid-work, with a model that takes its time."""
        self.submit(photos)
        self.world.model_server.delay_seconds = 0.25
        self.start(workers)
        self.world.wait_for_progress(self.job)

    def begin_held(self, model_server: ScriptedModelServer) -> tuple[int, int]:
        """Begin a job of one shard, which *model_server* holds: its worker, its process."""
        self.submit(photos=SHARD_SIZE)
        model_server.hold()
        self.start()
        wait_until(lambda: self.attempts(0) == 1, "the first attempt")
        worker = self.workers()[0]
        return worker, self.work_horse(worker)

    def wait_until_waiting(self) -> None:
        """Until the job waits for its model without a worker."""
        status = self.world.queue.status
        wait_until(lambda: status(self.job.id).waiting is not None, "the wait", 60)

    @property
    def run(self) -> Path:
        """The job's run directory."""
        return self.world.runs_dir / self.job.id

    def workers(self) -> list[int]:
        """Process ids of the workers that live now."""
        return self.processes("worker.main")

    def reconcilers(self) -> list[int]:
        """Process ids of the reconcilers that live now."""
        return self.processes("worker.reconciler")

    def processes(self, module: str) -> list[int]:
        """Process ids of those kept running whose command names *module*."""
        return [pid for pid in children_of(self.kept.pid) if module in _command(pid)]

    def work_horse(self, worker: int) -> int:
        """The process that works on a shard for *worker*, as soon as there is one."""
        wait_until(lambda: children_of(worker), "a shard in work")
        return children_of(worker)[0]

    def attempts(self, shard: int) -> int:
        """How often a shard was begun."""
        return begun_attempts(self.world, self.job, shard)

    def artefacts(self) -> dict[str, tuple[int, int]]:
        """The finished shards; an entry changes when one is written again."""
        found = fingerprints(self.run / "shards")
        return {name: print_ for name, print_ in found.items() if name[0] != "."}

    def expire_heartbeats(self, workers: Sequence[int]) -> None:
        """Let Redis take these, which were killed or stopped, for silent at once."""
        url = self.world.redis.url
        expire_heartbeats(url, shards_of(url, workers))

    def check_success(self, seconds: float = BOUND_SECONDS) -> None:
        """The promise was kept with a CSV."""
        self.promise.check_kept(seconds)

    def check_failure(self, *named: str) -> None:
        """The job failed without a CSV; its reason names these."""
        reason = self.promise.check_failed(BOUND_SECONDS)
        assert [each for each in named if each not in reason] == [], reason

    def close(self) -> None:
        """Stop watching; the world stops the rest."""
        if hasattr(self, "promise"):
            self.promise.watch.stop()


def children_of(pid: int) -> list[int]:
    """The children of a process that lives; none if it does not."""
    try:
        listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except OSError:
        return []
    return [int(child) for child in listing.split()]


def signal_all(pids: list[int], number: int) -> None:
    """Send a signal to those of *pids* that are still there."""
    for pid in pids:
        try:
            os.kill(pid, number)
        except ProcessLookupError:
            continue


def _command(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/cmdline").read_text().replace("\0", " ")
    except OSError:
        return ""

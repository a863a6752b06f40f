"""A small kennel in a temporary folder: photos, Redis, model server, worker processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from pathlib import Path

from models.wire.client import ModelServerClient
from tests.conftest import RedisServer
from tests.fake_model_server import CARD, FakeModelServer
from tests.pictures import write_folder
from tests.worker.made_runs import create_run
from worker.assembly import assemble_run
from worker.attempts import shard_work
from worker.items import Item
from worker.manifest import render_manifest
from worker.patience import Patience
from worker.queue import JobQueue, JobRequest, JobStatus
from worker.run import Run
from worker.run_folder import now
from worker.run_items import shard_items
from worker.shards import finish_shard
from worker.sources.local import LocalRoot
from worker.sources.source import list_photos

SHARD_SIZE = 8
PATIENCE = Patience(wait_seconds=5, pause=lambda _: False, is_over=lambda: False)


class World:
    """Everything that a job needs; ends its processes in `close`."""

    def __init__(
        self, folder: Path, redis: RedisServer, model_server: FakeModelServer
    ) -> None:
        self.redis = redis
        self.model_server = model_server
        self.input_root = folder / "data"
        self.runs_dir = folder / "runs"
        self.photos = self.input_root / "test"
        self.oracle_dir = folder / "oracle"
        self.queue = JobQueue(
            redis.url, self.runs_dir, self.input_root, shard_size=SHARD_SIZE
        )
        self.reconcile_seconds = 0.3
        self.extra_env: dict[str, str] = {}
        self._processes: list[subprocess.Popen[bytes]] = []

    def photos_of(self, count: int) -> list[int]:
        return write_folder(self.photos, count)

    def env(self) -> dict[str, str]:
        return {
            **os.environ,
            "REDIS_URL": self.redis.url,
            "RUNS_DIR": str(self.runs_dir),
            "INPUT_ROOT": str(self.input_root),
            "MODEL_SERVER": self.model_server.target,
            "MODEL_WAIT_SECONDS": "60",
            "RECONCILE_SECONDS": str(self.reconcile_seconds),
            **self.extra_env,
        }

    def start_worker(self) -> subprocess.Popen[bytes]:
        return self.start("worker.main")

    def start_reconciler(self) -> subprocess.Popen[bytes]:
        return self.start("worker.reconciler")

    def start(self, module: str, *arguments: str) -> subprocess.Popen[bytes]:
        command = [sys.executable, "-m", module, *arguments]
        process = subprocess.Popen(command, env=self.env())
        self._processes.append(process)
        return process

    def close(self) -> None:
        for process in self._processes:
            process.kill()
        for process in self._processes:
            process.wait()

    def wait_for(self, job: JobStatus, state: str, seconds: float = 45) -> JobStatus:
        def arrived() -> bool:
            current = self.queue.status(job.id)
            ended = current.state in {"succeeded", "failed", "cancelled"}
            assert not ended or current.state == state, current
            return current.state == state

        wait_until(arrived, seconds)
        return self.queue.status(job.id)

    def wait_for_progress(self, job: JobStatus) -> None:
        wait_until(lambda: self.queue.status(job.id).done > 0, 30)

    def wait_for_waiting(self, job: JobStatus) -> JobStatus:
        """Until the job waits for its photos or model without a worker."""
        wait_until(lambda: self.queue.status(job.id).waiting is not None, 30)
        return self.queue.status(job.id)

    def end_pause(self, job: JobStatus) -> None:
        """Let a job that waits ask again at once."""
        note = Run(self.runs_dir / job.id).absence
        with suppress(FileNotFoundError):
            os.utime(note, (0, 0))

    def csv(self, job: JobStatus) -> str:
        return self.queue.submission(job.id).read_text()

    def leftovers(self) -> list[str]:
        return [path.name for path in self.runs_dir.rglob(".tmp-*")]


def request(**changes: object) -> JobRequest:
    values: dict[str, object] = {
        "model": CARD.name,
        "version": 1,
        "labels": CARD.labels,
        "image_size": CARD.image_size,
        "input": "test",
        "clip": CARD.clip_bound,
        **changes,
    }
    return JobRequest(**values)  # type: ignore[arg-type]


def items_of(run: Run) -> list[Item]:
    """All images of *run*, in submission order."""
    numbers = range(run.manifest.shard_count)
    return [item for number in numbers for item in shard_items(run, number)]


def oracle(world: World, asked: JobRequest) -> str:
    """The CSV without Redis, workers or faults, from a healthy model server."""
    folder = LocalRoot(world.input_root).folder(asked.input)
    text = render_manifest("oracle", asked, list_photos(folder), now(), SHARD_SIZE)
    run = create_run(world.oracle_dir, "oracle", text)
    with ModelServerClient(world.model_server.target) as client:
        ask = partial(PATIENCE.predict, client)
        for number in run.missing_shards():
            finish_shard(run, number, folder, ask)
    assert assemble_run(run) == []
    return run.csv.read_text()


def children(process: subprocess.Popen[bytes]) -> list[int]:
    listing = Path(f"/proc/{process.pid}/task/{process.pid}/children")
    with suppress(OSError):
        return [int(pid) for pid in listing.read_text().split()]
    return []


def kill_all(process: subprocess.Popen[bytes]) -> None:
    """The worker and the process of its job, as a power cut would."""
    jobs = children(process)
    process.kill()
    for pid in jobs:
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    process.wait()


def wait_until(condition: Callable[[], bool], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            raise TimeoutError(f"not within {seconds} seconds: {condition}")
        time.sleep(0.05)


def begun_attempts(world: World, job: JobStatus, number: int) -> int:
    path = world.runs_dir / job.id / "attempts" / shard_work(number)
    return path.read_text().count("begun ") if path.exists() else 0

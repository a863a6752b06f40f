"""One job under a fault, and all that must hold of it whatever the fault was.

I1 the CSV's bytes are those of a quiet run; I2 each image once, in natural order; I3 no
client ever saw anything else; I4 it was assembled once; I5 no temporary file is left;
I6 the status says what the files say; I7 it ended within a bound.
"""

from __future__ import annotations

import csv
import hashlib
import json
import os
import subprocess
from pathlib import Path

from tests.faults.watch import Watch
from tests.worker.world import World, begun_attempts, children, oracle, request
from tests.worker.world import wait_until as wait_until_true
from worker.queue import JobStatus
from worker.reconciler import reconcile
from worker.worklist import WorkList

PHOTOS = 48
BOUND_SECONDS = 90.0
"""I7; what a job takes here is a few seconds, but the machine may be busy."""


class Ordeal:
    """A job, the processes that work on it, and a client that watches it."""

    def __init__(self, world: World) -> None:
        self.world = world
        self.job: JobStatus
        self.expected = ""
        self.brightness: list[int] = []
        self.watch: Watch
        self.kept: subprocess.Popen[bytes]

    def submit(self, photos: int = PHOTOS) -> None:
        """Submit a job and watch it; nobody works on it yet."""
        self.brightness = self.world.photos_of(photos)
        self.expected = oracle(self.world, request())
        self.job = self.world.queue.submit(request())
        self.watch = Watch(self.world.queue, self.run, self.expected).__enter__()

    def start(self, workers: int = 1, *redis_config: str) -> None:
        """Start a reconciler and workers, kept running as the launcher does.

        With a *redis_config* Redis too.
        """
        self.kept = self.world.start("tests.faults.kept", str(workers), *redis_config)

    def start_skewed_worker(self, ahead_seconds: int) -> subprocess.Popen[bytes]:
        """Start a worker on a machine whose clock is wrong; it is not kept running."""
        return self.world.start("tests.faults.skewed", str(ahead_seconds))

    def begin(
        self, workers: int = 1, photos: int = PHOTOS, delay_seconds: float = 0.25
    ) -> None:
        """Bring a job into mid-work, with a model that takes its time."""
        self.submit(photos)
        self.world.model_server.delay_seconds = delay_seconds
        self.start(workers)
        self.world.wait_for_progress(self.job)

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
        return [pid for pid in children(self.kept) if module in _command(pid)]

    def work_horse(self, worker: int) -> int:
        """The process that works on a shard for *worker*, as soon as there is one."""
        wait_until_true(lambda: bool(children_of(worker)), 30)
        return children_of(worker)[0]

    def attempts(self, shard: int) -> int:
        """How often a shard was begun."""
        return begun_attempts(self.world, self.job, shard)

    def finished_shards(self) -> set[int]:
        """The shards that have left their artefact."""
        return {int(path.stem) for path in (self.run / "shards").glob("[0-9]*.json")}

    def check_success(self, seconds: float = BOUND_SECONDS) -> None:
        """Wait for the CSV and check I1 to I7."""
        self.world.wait_for(self.job, "succeeded", seconds)
        self._check_csv()
        assert self.watch.wrong == []
        wait_until_true(lambda: self.world.leftovers() == [], 10)
        self._check_status()
        self._check_rest()

    def check_failure(self, *named: str, seconds: float = BOUND_SECONDS) -> str:
        """Wait for the job's failure: no CSV, a reason that names the remedy's object."""
        failed = self.world.wait_for(self.job, "failed", seconds)
        assert not (self.run / "submission.csv").exists()
        assert not (self.run / "report.json").exists()
        assert self.watch.wrong == []
        for each in named:
            assert each in str(failed.error)
        wait_until_true(lambda: self.world.leftovers() == [], 10)
        return str(failed.error)

    def close(self) -> None:
        """Stop watching; the world stops the rest."""
        if hasattr(self, "watch"):
            self.watch.__exit__()

    def _check_csv(self) -> None:
        text = self.world.csv(self.job)
        ids = [row["id"] for row in csv.DictReader(text.splitlines())]
        assert text == self.expected
        assert ids == [str(number) for number in range(1, self.job.total + 1)]

    def _check_status(self) -> None:
        status = self.world.queue.status(self.job.id)
        report = json.loads((self.run / "report.json").read_text())
        digest = hashlib.sha256((self.run / "submission.csv").read_bytes()).hexdigest()
        assert not (self.run / "failed.json").exists()
        assert not (self.run / "cancelled").exists()
        assert report["csv_sha256"] == digest
        assert report["images"] == status.total == status.done
        assert status.unreadable == report["unreadable"] == 0
        assert (status.error, status.finished) == (None, report["finished"])

    def _check_rest(self) -> None:
        """Whoever looks for lost work now leaves the run as it is."""
        before = _fingerprints(self.run)
        reconcile(self.world.runs_dir, WorkList(self.world.redis.url))
        assert _fingerprints(self.run) == before


def children_of(pid: int) -> list[int]:
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


def _fingerprints(folder: Path) -> dict[str, tuple[int, int]]:
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }

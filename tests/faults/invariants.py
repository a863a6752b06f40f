"""The invariants of a job after any fault.

I1 the CSV's bytes are those of a quiet run; I2 each image once, in natural order; I3 no
client ever saw anything else; I4 it was assembled once; I5 no temporary file is left;
I6 the status says what the files say; I7 it ended within a bound.
"""

from __future__ import annotations

import csv
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path

from tests.faults.job_watcher import Watch
from tests.processes import wait_until
from tests.worker.world import World
from worker.queue import JobStatus
from worker.reconciler import reconcile
from worker.worklist import WorkList

LEFTOVER_SECONDS = 10


@dataclass(frozen=True)
class Promise:
    """The promise that was made for one job, and the client that watched it."""

    world: World
    job: JobStatus
    expected: str
    watch: Watch

    def check_kept(self, seconds: float) -> None:
        """Wait for the CSV, at most *seconds*, and check I1 to I7."""
        self.world.wait_for(self.job, "succeeded", seconds)
        self._check_csv()
        assert self.watch.wrong == []
        self._check_leftovers()
        self._check_status()
        self._check_rest()

    def check_failed(self, seconds: float) -> str:
        """Wait for the job's failure and check that there is no CSV; the reason."""
        failed = self.world.wait_for(self.job, "failed", seconds)
        names = {path.name for path in self._run.iterdir()}
        assert names.isdisjoint({"submission.csv", "report.json", "cancelled"})
        assert self.watch.wrong == []
        self._check_leftovers()
        return str(failed.error)

    @property
    def _run(self) -> Path:
        return self.world.runs_dir / self.job.id

    def _check_csv(self) -> None:
        text = self.world.csv(self.job)
        ids = [row["id"] for row in csv.DictReader(text.splitlines())]
        assert text == self.expected
        assert ids == [str(number) for number in range(1, self.job.total + 1)]

    def _check_leftovers(self) -> None:
        # Whoever worked on it beside the one that finished may still be at it.
        wait_until(
            lambda: self.world.leftovers() == [], "the clean-up", LEFTOVER_SECONDS
        )

    def _check_status(self) -> None:
        status = self.world.queue.status(self.job.id)
        report = json.loads((self._run / "report.json").read_text())
        digest = hashlib.sha256((self._run / "submission.csv").read_bytes())
        names = {path.name for path in self._run.iterdir()}
        assert names.isdisjoint({"failed.json", "cancelled"})
        assert report["csv_sha256"] == digest.hexdigest()
        assert report["images"] == status.total == status.done
        assert report["unreadable"] == status.unreadable == 0
        assert (status.error, status.finished) == (None, report["finished"])

    def _check_rest(self) -> None:
        before = fingerprints(self._run)
        reconcile(self.world.runs_dir, WorkList(self.world.redis.url))
        assert fingerprints(self._run) == before


def fingerprints(folder: Path) -> dict[str, tuple[int, int]]:
    """What changes when a file in *folder* is written again, by its name."""
    return {
        str(path.relative_to(folder)): (path.stat().st_mtime_ns, path.stat().st_ino)
        for path in folder.rglob("*")
        if path.is_file()
    }

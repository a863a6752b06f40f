"""A kennel with one job for each step at which a process may be killed."""

from __future__ import annotations

import hashlib
import itertools
import json
from collections.abc import Callable
from functools import partial
from typing import Any

from models.errors import ConflictError
from models.wire.client import ModelServerClient
from tests.faults.crashes import Place, crashes
from tests.worker.world import PATIENCE, World, oracle, request, wait_until
from worker.queue import JobStatus
from worker.run import Run
from worker.shards import finish_shard
from worker.sources.local import LocalRoot

SHARD_SIZE = 2
PHOTOS = 2 * SHARD_SIZE
FEWEST_STEPS = 4
"""A sweep with fewer did not see the file operations."""


class Sweep:
    """A kennel with one job for each step at which something may be killed."""

    def __init__(self, world: World) -> None:
        world.photos_of(PHOTOS)
        self.world = world
        self.expected = oracle(world, request())
        self.place = Place(world.env(), SHARD_SIZE)
        self.queue = self.place.queue()
        self.jobs: list[str] = []

    def over(self, prepare: Callable[[], str], action: Callable[[str], Any]) -> None:
        """For each step of *action*: `prepare` a job, and kill *action* on it there."""
        for step in itertools.count(1):
            job = prepare()
            self.jobs.append(job)
            killed = crashes(self.place, action, job, at=step)
            self.check_promise(job)
            if not killed:
                assert step > FEWEST_STEPS
                return

    def submit(self) -> str:
        """A job, queued."""
        return self.queue.submit(request()).id

    def with_shards(self, *numbers: int) -> str:
        """A job of which these shards are done."""
        run = Run(self.place.runs_dir / self.submit())
        folder = LocalRoot(self.world.input_root).folder("test")
        run.begin()
        with ModelServerClient(self.world.model_server.target) as client:
            for number in numbers:
                finish_shard(run, number, folder, partial(PATIENCE.predict, client))
        return run.id

    def check_promise(self, job: str) -> None:
        """What a client may see of a job at any moment: a whole CSV or none."""
        try:
            text = self.queue.submission(job).read_text()
        except ConflictError:
            return
        assert text == self.expected

    def recover(self) -> list[JobStatus]:
        """Start who finds lost work and who does it; the jobs when all have ended."""
        self.world.start_reconciler()
        self.world.start_worker()
        wait_until(self._have_ended, 100)
        wait_until(lambda: self.world.leftovers() == [], 10)
        return [self.queue.status(job) for job in self.jobs]

    def check_succeeded(self, job: str) -> None:
        """The whole CSV and a report that fits."""
        text = self.queue.submission(job).read_text()
        report = json.loads((self.world.runs_dir / job / "report.json").read_text())
        assert text == self.expected
        assert report["csv_sha256"] == hashlib.sha256(text.encode()).hexdigest()

    def check_without_csv(self, job: str) -> None:
        """Neither a CSV nor a report."""
        folder = self.world.runs_dir / job
        assert not (folder / "submission.csv").exists()
        assert not (folder / "report.json").exists()

    def _have_ended(self) -> bool:
        for job in self.jobs:
            self.check_promise(job)
        states = {self.queue.status(job).state for job in self.jobs}
        return not states & {"queued", "running"}

"""Events of the drill: faults under a running job and predictions; their outcomes."""

from __future__ import annotations

import os
import re
import shlex
import sys
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import click

from deploy.trials.deployment import Deployment
from deploy.trials.load import Load, Request, call_predict, call_readyz
from models.errors import KennelError

READINESS_RATE: Final = 4.0
"""Requests to /readyz a second; they limit how finely its recovery is timed."""

HEADER: Final = (
    "| event | predictions | failed | first to last failure | done and healthy after "
    "| /readyz whole after | job |\n|---|---|---|---|---|---|---|"
)

EXCUSED_EVENTS: Final = frozenset({"proxy killed", "model-server killed"})
"""Events in which predictions may fail until every part is ready again."""

FOLDER: Final = "drill"
"""The jobs' folder below INPUT_ROOT."""

LONGEST_JOB_SECONDS: Final = 900.0
PAGE: Final = "docs/operations.md"
BACKUPS: Final = "/backups/kennel"
"""The folder of backups in the page; a drill uses its own instead."""

_PODMAN: Final = Path(__file__).parent / "docker_by_podman.sh"


@dataclass(frozen=True)
class Happened:
    """The time of a fault or an operator's procedure.

    Attributes:
        began: on the monotonic clock.
        seconds: until it was done and the containers were healthy again.
    """

    began: float
    seconds: float


@dataclass(frozen=True)
class Observation:
    """The outcome of one event, a line of the table."""

    event: str
    happened: Happened
    predictions: tuple[Request, ...]
    looks: tuple[Request, ...]
    job_equal: bool

    @property
    def failures(self) -> list[Request]:
        """The predictions that failed, in the order in which they were due."""
        failed = [each for each in self.predictions if each.failed]
        return sorted(failed, key=lambda request: request.asked)

    @property
    def failing_seconds(self) -> float:
        """From the first failure to the end of the last."""
        if not self.failures:
            return 0.0
        last = max(request.ended for request in self.failures)
        return last - self.failures[0].asked

    @property
    def ready_seconds(self) -> float:
        """From the event until /readyz had every part again."""
        missed = [look.ended for look in self.looks if look.failed]
        return max([0.0, *(end - self.happened.began for end in missed)])

    def __str__(self) -> str:
        """The line of the table."""
        statuses = Counter(request.status or "none" for request in self.failures)
        how = ", ".join(f"{count} x {status}" for status, count in statuses.items())
        cells = (
            self.event,
            len(self.predictions),
            how or 0,
            f"{self.failing_seconds:.1f} s",
            f"{self.happened.seconds:.1f} s",
            f"{self.ready_seconds:.1f} s",
            "same bytes" if self.job_equal else "DIFFERS",
        )
        return f"| {' | '.join(map(str, cells))} |"


def observe(
    event: str, cause: Callable[[Load], Happened], jobs: FolderJobs, rate: float
) -> Observation:
    """Run *cause* under *rate* predictions a second and a running job.

    Raises:
        KennelError: the service does not recover.
    """
    deployment = jobs.deployment
    predictions = Load(call_predict(deployment.port, deployment.photos[0]), rate)
    looks = Load(call_readyz(deployment.port), READINESS_RATE)
    with predictions, looks:
        job = jobs.begin()
        happened = cause(predictions)
        equal = jobs.ends_equal(job)
    requests = tuple(predictions.requests), tuple(looks.requests)
    return Observation(event, happened, *requests, equal)


def complaints(seen: Observation) -> list[str]:
    """A sentence for each promise that was not kept."""
    broken = []
    if not seen.job_equal:
        broken.append(f"{seen.event}: the job did not end with the reference's bytes")
    unexcused = [request for request in seen.failures if not _excused(seen, request)]
    if unexcused:
        broken.append(f"{seen.event}: {len(unexcused)} predictions failed")
    return broken


def _excused(seen: Observation, request: Request) -> bool:
    began = seen.happened.began
    away = max(seen.happened.seconds, seen.ready_seconds)
    was_away = request.ended >= began and request.asked <= began + away
    return seen.event in EXCUSED_EVENTS and was_away


def link_photos(deployment: Deployment, images: int) -> None:
    """Fill the jobs' folder with *images* links to the demo's photos.

    Raises:
        OSError: the folder cannot be written.
    """
    folder = deployment.folder / "var/data" / FOLDER
    folder.mkdir()
    photos = deployment.photos
    for number in range(images):
        photo = photos[number % len(photos)]
        os.link(photo, folder / f"{number + 1}{photo.suffix}")


@dataclass(frozen=True)
class FolderJobs:
    """Jobs over the same folder; each CSV has to equal *reference*."""

    deployment: Deployment
    reference: bytes

    @classmethod
    def with_reference(cls, deployment: Deployment) -> FolderJobs:
        """Run one job without a fault, whose CSV is the reference.

        Raises:
            KennelError: the job failed.
            TimeoutError: the job takes too long.
        """
        with deployment.client() as client:
            job = client.submit(FOLDER)
            client.wait(job.id, timeout_seconds=LONGEST_JOB_SECONDS)
            return cls(deployment, client.submission(job.id))

    def begin(self) -> str:
        """Start a job and wait until a part of it is done; its id.

        Raises:
            KennelError: the job does not begin, or is over already.
        """
        with self.deployment.client() as client:
            job = client.submit(FOLDER)
            self.deployment.wait_for(
                "the job has begun", lambda: client.job(job.id).done > 0
            )
        self.expect_running(job.id)
        return job.id

    def expect_running(self, job_id: str) -> None:
        """Check that the job still runs, so that the event hit it.

        Raises:
            KennelError: the job is over.
        """
        with self.deployment.client() as client:
            if client.job(job_id).is_over:
                raise KennelError("the job was too short: give more --photos")

    def ends_equal(self, job_id: str) -> bool:
        """Wait for the job's end; whether its CSV equals the reference."""
        try:
            with self.deployment.client(retries=3) as client:
                client.wait(job_id, timeout_seconds=LONGEST_JOB_SECONDS)
                return client.submission(job_id) == self.reference
        except (KennelError, TimeoutError) as error:
            click.echo(f"job {job_id}: {error}")
            return False


def commands_of(page: str, heading: str) -> str:
    """The first block of commands under *heading* of *page*.

    Raises:
        KennelError: there is no such heading, or no block under it.
    """
    _, found, section = page.partition(f"\n## {heading}\n")
    block = re.search(r"^```\n(.*?)^```$", section.split("\n## ")[0], re.M | re.S)
    if not found or block is None:
        raise KennelError(f"{PAGE} has no commands under {heading!r}")
    return block[1]


def follow(deployment: Deployment, heading: str) -> None:
    """Run the commands under *heading* of docs/operations.md in a shell.

    Raises:
        CalledProcessError: a command failed; the rest was not run.
        KennelError: there are none.
    """
    page = (deployment.folder / PAGE).read_text()
    backups = shlex.quote(str(backups_folder(deployment)))
    commands = commands_of(page, heading).replace(BACKUPS, backups)
    deployment.run("bash", "-euxc", _preamble(deployment) + commands)


def backups_folder(deployment: Deployment) -> Path:
    """The drill's folder of backups, outside the folder that it loses."""
    return deployment.folder.parent / "backups"


def _preamble(deployment: Deployment) -> str:
    # The copy of the working tree has no remote to pull from, and no .venv.
    kennel = f"{shlex.quote(sys.executable)} -m kennel.cli"
    lines = ["git() { :; }", f'kennel() {{ {kennel} "$@"; }}']
    if deployment.engine == "podman":
        lines += [f'compose() {{ {shlex.join(deployment.command)} "$@"; }}']
        lines += [_PODMAN.read_text()]
    return "\n".join([*lines, ""])

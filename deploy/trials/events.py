"""One event of the drill: a running job, steady predictions, and what came of both."""

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
"""Looks at /readyz a second: what seconds until it is ready are rounded to."""

HEADER: Final = (
    "| event | predictions | failed | first to last failure | done and healthy after "
    "| /readyz whole after | job |\n|---|---|---|---|---|---|---|"
)


@dataclass(frozen=True)
class Happened:
    """When something was done to the service, and how long that took.

    Attributes:
        began: on the monotonic clock.
        seconds: from then until it was done, and what it touched was healthy.
    """

    began: float
    seconds: float


@dataclass(frozen=True)
class Observation:
    """One event, a line of the table."""

    event: str
    happened: Happened
    predictions: tuple[Request, ...]
    looks: tuple[Request, ...]
    job_equal: bool

    @property
    def failures(self) -> list[Request]:
        """The predictions that failed, in the order in which they were asked."""
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
        """From the event to the end of the last look that missed a part."""
        missed = [look.ended for look in self.looks if look.failed]
        return max([0.0, *(end - self.happened.began for end in missed)])

    def __str__(self) -> str:
        """The line."""
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
    """Let *cause* happen under *rate* predictions a second and a running job.

    Raises:
        KennelError: the service does not become itself again.
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


WITHOUT_THEM_NOTHING_ANSWERS: Final = frozenset({"proxy killed", "model-server killed"})
"""Predictions may fail while these are away, and until all is ready again."""


def complaints(seen: Observation) -> list[str]:
    """The promises that were not kept, a sentence each."""
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
    return seen.event in WITHOUT_THEM_NOTHING_ANSWERS and was_away


FOLDER: Final = "drill"
LONGEST_SECONDS: Final = 900.0


def link_photos(deployment: Deployment, images: int) -> None:
    """A folder of *images* photos for jobs: those of the demo, again and again.

    Raises:
        OSError: it cannot be written.
    """
    folder = deployment.folder / "var/data" / FOLDER
    folder.mkdir()
    photos = deployment.photos
    for number in range(images):
        photo = photos[number % len(photos)]
        os.link(photo, folder / f"{number + 1}{photo.suffix}")


@dataclass(frozen=True)
class FolderJobs:
    """Jobs over the same folder, each of which has to end as *reference* did."""

    deployment: Deployment
    reference: bytes

    @classmethod
    def with_reference(cls, deployment: Deployment) -> FolderJobs:
        """Run one job while nothing is amiss.

        Raises:
            KennelError: it failed.
            TimeoutError: it takes too long.
        """
        with deployment.client() as client:
            job = client.submit(FOLDER)
            client.wait(job.id, timeout_seconds=LONGEST_SECONDS)
            return cls(deployment, client.submission(job.id))

    def begin(self) -> str:
        """The id of a job of which a part is done, and not all.

        Raises:
            KennelError: it does not begin.
        """
        with self.deployment.client() as client:
            job = client.submit(FOLDER)
            self.deployment.wait_for(
                "the job has begun", lambda: client.job(job.id).done > 0
            )
        self.expect_running(job.id)
        return job.id

    def expect_running(self, job_id: str) -> None:
        """See that it is not over: then what was done to it was done in its midst.

        Raises:
            KennelError: it is over.
        """
        with self.deployment.client() as client:
            if client.job(job_id).is_over:
                raise KennelError("the job was too short: give more --photos")

    def ends_equal(self, job_id: str) -> bool:
        """Wait for its end; whether its CSV is the reference, byte for byte."""
        try:
            with self.deployment.client(retries=3) as client:
                client.wait(job_id, timeout_seconds=LONGEST_SECONDS)
                return client.submission(job_id) == self.reference
        except (KennelError, TimeoutError) as error:
            click.echo(f"job {job_id}: {error}")
            return False


PAGE: Final = "docs/operations.md"
BACKUPS: Final = "/backups/kennel"
"""Where the page's backups are; a drill has a folder of its own instead."""

_PODMAN: Final = Path(__file__).parent / "docker_by_podman.sh"


def commands_of(page: str, heading: str) -> str:
    """The first block of commands under *heading*.

    Raises:
        KennelError: there is no such heading, or no block under it.
    """
    _, found, section = page.partition(f"\n## {heading}\n")
    block = re.search(r"^```\n(.*?)^```$", section.split("\n## ")[0], re.M | re.S)
    if not found or block is None:
        raise KennelError(f"{PAGE} has no commands under {heading!r}")
    return block[1]


def follow(deployment: Deployment, heading: str) -> None:
    """Type the commands under *heading* until one fails.

    Raises:
        CalledProcessError: one failed.
        KennelError: there are none.
    """
    page = (deployment.folder / PAGE).read_text()
    backups = shlex.quote(str(backups_folder(deployment)))
    commands = commands_of(page, heading).replace(BACKUPS, backups)
    deployment.run("bash", "-euxc", _preamble(deployment) + commands)


def backups_folder(deployment: Deployment) -> Path:
    """The drill's place for backups, beside what may be lost."""
    return deployment.folder.parent / "backups"


def _preamble(deployment: Deployment) -> str:
    # The copy of the working tree has nowhere to pull from, and no .venv.
    kennel = f"{shlex.quote(sys.executable)} -m kennel.cli"
    lines = ["git() { :; }", f'kennel() {{ {kennel} "$@"; }}']
    if deployment.engine == "podman":
        lines += [f'compose() {{ {shlex.join(deployment.command)} "$@"; }}']
        lines += [_PODMAN.read_text()]
    return "\n".join([*lines, ""])

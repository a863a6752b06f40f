"""What predictions, readiness and a job went through during one event of the drill."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from deploy.drill.asking import prediction, readiness
from deploy.drill.folder_jobs import FolderJobs
from deploy.drill.load import Load, Request

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
    predictions = Load(prediction(deployment.port, deployment.photos[0]), rate)
    looks = Load(readiness(deployment.port), READINESS_RATE)
    with predictions, looks:
        job = jobs.begin()
        happened = cause(predictions)
        equal = jobs.ends_equal(job)
    requests = tuple(predictions.requests), tuple(looks.requests)
    return Observation(event, happened, *requests, equal)

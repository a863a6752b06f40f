"""Following a job to its end, across restarts of the API."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Final

from kennel.api.answers import Job
from kennel.api.errors import ApiBusyError, ApiUnreachableError, JobFailedError

POLL_SECONDS: Final = 0.5
PATIENCE_SECONDS: Final = 60.0
"""A restarting API is waited for this long: the job goes on without it."""


def wait_for_job(
    look: Callable[[], Job],
    on_progress: Callable[[Job], None] | None,
    timeout_seconds: float | None,
) -> Job:
    """The last status of a job that succeeded; *look* gives the present one.

    Raises:
        JobFailedError: it failed or was cancelled.
        TimeoutError: *timeout_seconds* have passed.
        ApiError: the API refused, or stays away for too long.
    """
    began = answered = time.monotonic()
    while True:
        try:
            job = look()
        except (ApiUnreachableError, ApiBusyError):
            if time.monotonic() - answered > PATIENCE_SECONDS:
                raise
        else:
            answered = time.monotonic()
            if on_progress is not None:
                on_progress(job)
            if job.is_over:
                return _succeeded(job)
        if timeout_seconds is not None and time.monotonic() - began > timeout_seconds:
            raise TimeoutError(f"the job is not over after {timeout_seconds:g} s")
        time.sleep(POLL_SECONDS)


def _succeeded(job: Job) -> Job:
    if job.state != "succeeded":
        raise JobFailedError(job)
    return job

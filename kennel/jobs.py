"""Following a folder job to its end over HTTP."""

from __future__ import annotations

import time
from typing import Any

from export.progress import Progress
from kennel.client import ApiClient, ApiError

POLL_SECONDS = 0.5
PATIENCE_SECONDS = 60.0
"""A restarting API is waited for this long: the job goes on without it."""


def follow_job(client: ApiClient, job_id: str, progress: Progress) -> dict[str, Any]:
    """Report progress until the job has succeeded; returns its last status.

    Raises:
        ApiError: it failed or was cancelled, or the API stays away.
    """
    last_answer = time.monotonic()
    while True:
        try:
            job = client.get(f"/v1/jobs/{job_id}")
            last_answer = time.monotonic()
        except ApiError as error:
            away = error.status in {0, 502, 503, 504}
            if not away or time.monotonic() - last_answer > PATIENCE_SECONDS:
                raise
            time.sleep(POLL_SECONDS)
            continue
        progress(
            "classify the folder", job["progress"]["done"], job["progress"]["total"]
        )
        if job["state"] == "succeeded":
            return job
        if job["state"] in {"failed", "cancelled"}:
            reason = job.get("error") or "no reason is known"
            raise ApiError(f"job {job_id} {job['state']}: {reason}")
        time.sleep(POLL_SECONDS)


def download_submission(client: ApiClient, job: dict[str, Any]) -> bytes:
    """The CSV of a succeeded *job*.

    Raises:
        ApiError: it is not there.
    """
    return client.download(f"/v1/jobs/{job['id']}/submission.csv")

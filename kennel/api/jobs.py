"""Folder jobs over HTTP: submit, follow, fetch the CSV."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any, Unpack
from urllib.parse import quote

from kennel.api.answers import Job, having
from kennel.api.call import Call
from kennel.api.listing import find_id, list_jobs
from kennel.api.options import JobOptions
from kennel.api.submitting import submit_call
from kennel.api.transport import Transport
from kennel.api.uploads import LeftOut, Sent
from kennel.api.waiting import wait_for_job
from models.files import write_atomically


class JobCalls:
    """What a client can do with jobs."""

    def __init__(self, transport: Transport) -> None:
        """Ask through *transport*."""
        self._transport = transport

    def submit(
        self,
        source: str | Path,
        *,
        on_sent: Sent | None = None,
        on_left_out: LeftOut | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Start a job; once this returns, it ends with a CSV or with a reason.

        *source* is the name of a folder below the service's INPUT_ROOT if it is a
        string; a `Path` is an archive or a folder here, which is uploaded. So it is for
        *manifest* and *sample_submission*: a `Path` is a CSV file here. Repeating is
        safe: the client makes an Idempotency-Key for each call of this method.

        Raises:
            ApiError: the API refused or cannot be reached.
            InvalidRequestError: there is no such folder, archive or CSV file here.
            OSError: it cannot be read.
        """
        call = submit_call(source, options, on_sent, on_left_out)
        return self._transport.ask_json(call, Job.from_json)

    def job(self, job_id: str) -> Job:
        """One job now.

        Raises:
            ApiError: there is none, the API refused or cannot be reached.
        """
        call = Call("GET", _job_path(job_id))
        return self._transport.ask_json(call, Job.from_json)

    def jobs(self, *, state: str | None = None, limit: int | None = None) -> list[Job]:
        """The newest *limit* jobs (default: all), newest first, in *state* if given.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return list(list_jobs(self._transport.ask_json, state, limit))

    def full_id(self, start: str) -> str:
        """The id of the one job whose id begins with *start*.

        Raises:
            NotFoundError: there is none.
            ConflictError: there are several; the message lists them.
            ApiError: the API refused or cannot be reached.
        """
        return find_id(self._transport.ask_json, start)

    def scores(self, job_id: str) -> dict[str, Any]:
        """What the result of a succeeded job looks like: GET /v1/jobs/{id}/scores.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._transport.ask_json(Call("GET", _job_path(job_id, "/scores")), dict)

    def report(self, job_id: str) -> dict[str, Any]:
        """What a succeeded job did and lost, as GET /v1/jobs/{id}/report says.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        call = Call("GET", _job_path(job_id, "/report"))
        return self._transport.ask_json(call, having("job", "images", "csv_sha256"))

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Job:
        """The job when it has succeeded; *on_progress* is called at every look.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: *timeout_seconds* have passed.
            ApiError: the API refused, or stays away for a minute.
        """
        look = partial(self.job, job_id)
        return wait_for_job(look, on_progress, timeout_seconds)

    def download(self, job_id: str, to: Path) -> Path:
        """Write the CSV of a succeeded job to *to*, all of it or nothing.

        Raises:
            ApiError: it is not there, the API refused or cannot be reached.
            OSError: it cannot be written.
        """
        write_atomically(to, self.submission(job_id))
        return to

    def submission(self, job_id: str) -> bytes:
        """The CSV of a succeeded job.

        Raises:
            ApiError: it is not there, the API refused or cannot be reached.
        """
        call = Call("GET", _job_path(job_id, "/submission.csv"))
        return self._transport.ask(call)

    def cancel(self, job_id: str) -> Job:
        """End a job without a CSV; what it has computed stays for a retry.

        Raises:
            ApiError: it is over, the API refused or cannot be reached.
        """
        call = Call("POST", _job_path(job_id, "/cancel"), repeatable=False)
        return self._transport.ask_json(call, Job.from_json)

    def delete(self, job_id: str) -> None:
        """Delete a job that is over, with its CSV and its uploaded photos.

        Raises:
            ApiError: it is not over, the API refused or cannot be reached.
        """
        call = Call("DELETE", _job_path(job_id), repeatable=False)
        self._transport.send(call)

    def retry(self, job_id: str) -> Job:
        """Let a failed or cancelled job go on from what is done.

        Raises:
            ApiError: it is neither, the API refused or cannot be reached.
        """
        call = Call("POST", _job_path(job_id, "/retry"), repeatable=False)
        return self._transport.ask_json(call, Job.from_json)


def _job_path(job_id: str, part: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{part}"

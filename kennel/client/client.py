"""The HTTP API's client: `from kennel.client import Client`.

with Client("http://127.0.0.1:8000") as client:
    answer = client.predict(["rex.jpg", "tom.jpg"])
    job = client.wait(client.submit("test").id)
    client.download(job.id, Path("submission.csv"))
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any, Final, Self, TypedDict, TypeVar, Unpack
from urllib.parse import quote

from kennel.client.answers import Answer, Job, having
from kennel.client.errors import ApiBusyError, ApiUnreachableError, JobFailedError
from kennel.client.predict import Image, Predictions, image_form
from kennel.client.transport import Request, Transport, query_path
from kennel.client.uploads import LeftOut, Sent, submit_request
from models.errors import ConflictError, NotFoundError, quoted
from models.files import write_atomically

JOBS_PER_PAGE: Final = 500
"""The API's limit for one page of jobs."""

CANDIDATES: Final = 10
"""How many jobs are listed when several ids begin alike."""

JOB_POLL_SECONDS: Final = 0.5
AWAY_SECONDS: Final = 60.0
"""How long `wait` tolerates an API that is away: the job goes on without it."""

_ROLLOUT: Final = ("id", "model", "state", "stable", "canary", "percent", "started")
_Content = TypeVar("_Content")


class VersionChoice(TypedDict, total=False):
    """The model and version to use; default: the default model's newest version."""

    model: str | None
    version: int | str | None
    label: str | None
    clip: float | str | None


class PredictOptions(VersionChoice, total=False):
    """The query of a prediction; None: the API's default."""

    top: int | None


class JobOptions(VersionChoice, total=False):
    """The members of a job; None: the API's default."""

    format: str | None
    on_unreadable: str | None
    max_unreadable: str | int | None
    positive: str | None
    priority: str | None
    manifest: str | Path | None
    sample_submission: str | Path | None


class Client:
    """One Kennel API; thread-safe; a context manager."""

    def __init__(
        self,
        url: str,
        *,
        api_key: str | None = None,
        timeout_seconds: float = 30,
        retries: int = 3,
    ) -> None:
        """Use the API at *url*, for example ``http://127.0.0.1:8000``.

        An answer may take *timeout_seconds*. A request that is safe to repeat is tried
        again up to *retries* times, within (1 + retries) * timeout_seconds in all.

        Raises:
            InvalidRequestError: the address or the key is malformed.
        """
        self._transport = Transport(url, api_key, timeout_seconds, retries)

    def __enter__(self) -> Self:
        """Return the client."""
        return self

    def __exit__(self, *_: object) -> None:
        """Close the connections."""
        self.close()

    def close(self) -> None:
        """Close the connections; a later call opens new ones."""
        self._transport.close()

    def predict(
        self, images: Image | Iterable[Image], **query: Unpack[PredictOptions]
    ) -> Answer:
        """Predictions for the *images*, any number of paths or contents, in their order.

        One version answers for all; an image that cannot be used has an ``error``.

        Raises:
            ApiError: the API refused or cannot be reached.
            OSError: a file cannot be read.
        """
        if isinstance(images, Path | str | bytes):
            images = [images]
        return Answer.joined(Predictions(self._transport, query).answers(images))

    def predict_each(
        self, images: Iterable[Image], **query: Unpack[PredictOptions]
    ) -> Iterator[Answer]:
        """As `predict`, but yields each request's answer as soon as it arrives, in order.

        An image whose file cannot be read or whose request fails has an ``error`` too,
        and the others are sent all the same. Memory does not grow with the number of
        images.

        Raises:
            ApiError: the API refused or cannot be reached, so that no other image would
                be answered either.
        """
        requests = Predictions(self._transport, query, keep_going=True)
        return requests.answers(images)

    def explain(
        self,
        image: Image,
        *,
        class_name: str | None = None,
        **query: Unpack[VersionChoice],
    ) -> dict[str, Any]:
        """The heat map of one image for *class_name*, by default the most probable one.

        The JSON of POST /v1/explain; ``heatmap`` holds a value from 0 to 1 for each
        cell.

        Raises:
            ApiError: the API refused or cannot be reached.
            OSError: the file cannot be read.
        """
        body, kind = image_form(image)
        path = query_path("/v1/explain", {**query, "class": class_name})
        request = Request("POST", path, {"Content-Type": kind}, lambda: body)
        return self._transport.send_json(request, dict)

    def submit(
        self,
        source: str | Path,
        *,
        on_sent: Sent | None = None,
        on_left_out: LeftOut | None = None,
        **options: Unpack[JobOptions],
    ) -> Job:
        """Start a folder job, which will end with a CSV or with the reason for none.

        A string as *source* names a folder below the service's INPUT_ROOT; a `Path` is
        a folder or archive on this machine, which is uploaded. *manifest* and
        *sample_submission* work alike: a `Path` is a CSV file on this machine. Retries
        are safe: each call of this method has an Idempotency-Key of its own.

        Raises:
            ApiError: the API refused or cannot be reached.
            InvalidRequestError: there is no such folder, archive or CSV file.
            OSError: a file cannot be read.
        """
        request = submit_request(source, options, on_sent, on_left_out)
        return self._transport.send_json(request, Job.from_json)

    def job(self, job_id: str) -> Job:
        """The status of one job.

        Raises:
            ApiError: there is none, the API refused or cannot be reached.
        """
        return self._get(_job_path(job_id), Job.from_json)

    def jobs(self, *, state: str | None = None, limit: int | None = None) -> list[Job]:
        """The newest *limit* jobs (default: all), newest first; only those in *state*.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return list(self._pages(limit, state=state))

    def full_id(self, start: str) -> str:
        """The id of the one job whose id begins with *start*.

        Raises:
            NotFoundError: there is none.
            ConflictError: there are several; the message lists them.
            ApiError: the API refused or cannot be reached.
        """
        found = list(self._pages(CANDIDATES + 1, prefix=start)) if start else []
        # An exact id is not ambiguous, even if longer ids begin with it.
        if len(found) == 1 or any(job.id == start for job in found):
            return start if len(found) > 1 else found[0].id
        if not found:
            message = (
                f"there is no job whose id is or begins with {quoted(start)}: kennel "
                "jobs list shows the jobs"
            )
            raise NotFoundError(message, code="job_not_found")
        lines = (f"\n  {each.id}  {each.state}  {each.input}" for each in found)
        shown = "".join(list(lines)[:CANDIDATES])
        more = "\n  and more" if len(found) > CANDIDATES else ""
        message = f"several job ids begin with {quoted(start)}: give more characters"
        raise ConflictError(message + shown + more, code="ambiguous_id")

    def wait(
        self,
        job_id: str,
        on_progress: Callable[[Job], None] | None = None,
        *,
        timeout_seconds: float | None = None,
    ) -> Job:
        """Wait until a job has succeeded; *on_progress* is called with each status.

        Raises:
            JobFailedError: it failed or was cancelled.
            TimeoutError: *timeout_seconds* have passed.
            ApiError: the API refused, or stays away for a minute.
        """
        began = answered = time.monotonic()
        while True:
            try:
                job = self.job(job_id)
            except (ApiUnreachableError, ApiBusyError):
                if time.monotonic() - answered > AWAY_SECONDS:
                    raise
            else:
                answered = time.monotonic()
                if on_progress is not None:
                    on_progress(job)
                if job.is_over:
                    return _succeeded(job)
            if (
                timeout_seconds is not None
                and time.monotonic() - began > timeout_seconds
            ):
                raise TimeoutError(f"the job is not over after {timeout_seconds:g} s")
            time.sleep(JOB_POLL_SECONDS)

    def submission(self, job_id: str) -> bytes:
        """The CSV of a succeeded job.

        Raises:
            ApiError: there is no CSV, the API refused or cannot be reached.
        """
        request = Request("GET", _job_path(job_id, "/submission.csv"))
        return self._transport.send(request)

    def download(self, job_id: str, to: Path) -> Path:
        """Write the CSV of a succeeded job to *to*, completely or not at all.

        Raises:
            ApiError: there is no CSV, the API refused or cannot be reached.
            OSError: the CSV cannot be written.
        """
        write_atomically(to, self.submission(job_id))
        return to

    def report(self, job_id: str) -> dict[str, Any]:
        """The report of a succeeded job: GET /v1/jobs/{id}/report.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._get(
            _job_path(job_id, "/report"), having("job", "images", "csv_sha256")
        )

    def scores(self, job_id: str) -> dict[str, Any]:
        """The scores of a succeeded job: GET /v1/jobs/{id}/scores.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._get(_job_path(job_id, "/scores"), dict)

    def cancel(self, job_id: str) -> Job:
        """Cancel a job; what it has computed is kept for a retry.

        Raises:
            ApiError: it is over, the API refused or cannot be reached.
        """
        request = Request("POST", _job_path(job_id, "/cancel"), repeatable=False)
        return self._transport.send_json(request, Job.from_json)

    def retry(self, job_id: str) -> Job:
        """Retry a failed or cancelled job; finished work is kept.

        Raises:
            ApiError: it is neither, the API refused or cannot be reached.
        """
        request = Request("POST", _job_path(job_id, "/retry"), repeatable=False)
        return self._transport.send_json(request, Job.from_json)

    def delete(self, job_id: str) -> None:
        """Delete a job that is over, with its CSV and its uploaded photos.

        Raises:
            ApiError: it is not over, the API refused or cannot be reached.
        """
        request = Request("DELETE", _job_path(job_id), repeatable=False)
        self._transport.send_without_answer(request)

    def models(self) -> list[dict[str, Any]]:
        """All served models, each with its versions and their cards.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._get("/v1/models", lambda answer: list(answer["models"]))

    def model(self, name: str) -> dict[str, Any]:
        """One served model with its versions, newest first, and their cards.

        Raises:
            ApiError: the API refused (status 404: no such model) or cannot be reached.
        """
        return self._get(f"/v1/models/{quote(name)}", having("versions"))

    def rollout(self, name: str) -> dict[str, Any]:
        """A model's last rollout, with the comparison of its two versions.

        Raises:
            ApiError: the API refused (status 404: it had none) or cannot be reached.
        """
        return self._get(f"/v1/models/{quote(name)}/rollout", having(*_ROLLOUT))

    def readiness(self) -> dict[str, Any]:
        """The answer of GET /readyz: which parts are ready now.

        Raises:
            ApiBusyError: the model server cannot answer now.
            ApiError: the API cannot be reached.
        """
        # "Not ready" is the answer, not a failure that a retry would overcome.
        request = Request("GET", "/readyz", repeatable=False)
        return self._transport.send_json(request, having("status"))

    def version(self) -> str:
        """The version of the program that the API runs.

        Raises:
            ApiError: the API refused or cannot be reached.
        """
        return self._get(
            "/openapi.json", lambda document: str(document["info"]["version"])
        )

    def _get(self, path: str, read: Callable[[dict[str, Any]], _Content]) -> _Content:
        return self._transport.send_json(Request("GET", path), read)

    def _pages(self, limit: int | None, **query: str | None) -> Iterator[Job]:
        """The newest *limit* jobs, newest first; a page is requested when needed."""
        after, left = None, math.inf if limit is None else limit
        while left > 0:
            page = {"limit": int(min(JOBS_PER_PAGE, left)), "after": after, **query}
            jobs, after = self._get(query_path("/v1/jobs", page), _read_page)
            yield from jobs
            left -= len(jobs)
            if after is None:
                return


def _job_path(job_id: str, part: str = "") -> str:
    return f"/v1/jobs/{quote(job_id, safe='')}{part}"


def _read_page(answer: dict[str, Any]) -> tuple[list[Job], str | None]:
    return [Job.from_json(each) for each in answer["jobs"]], answer.get("next")


def _succeeded(job: Job) -> Job:
    if job.state != "succeeded":
        raise JobFailedError(job)
    return job

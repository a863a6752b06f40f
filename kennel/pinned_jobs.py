"""Unfinished jobs and the versions that they are pinned to."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Final

from export.publication.served import served_model
from kennel.api.answers import Job
from kennel.api.errors import ApiError
from kennel.client import Client
from kennel.settings import KennelSettings
from models.errors import ConflictError
from worker.records import JobRecords
from worker.status import JobStatus

_NAMED: Final = 5


def unfinished_jobs(settings: KennelSettings, name: str) -> list[JobStatus]:
    """Jobs of the model *name* that are queued or running, newest first."""
    records = JobRecords(settings.runs_dir, settings.inputs)
    unfinished = (job for job in records.jobs() if job.state in {"queued", "running"})
    return [job for job in unfinished if job.model == name]


def stranded_jobs(settings: KennelSettings, name: str) -> list[str]:
    """A sentence for each unfinished job whose version of *name* is not served.

    Raises:
        NotFoundError, InvalidRequestError: as `served_model`.
    """
    entry, versions = served_model(settings.models_dir, name)
    loaded = entry.loaded(versions)
    jobs = unfinished_jobs(settings, name)
    return [_sentence(job) for job in jobs if job.version not in loaded]


def check_unneeded(settings: KennelSettings, name: str, client: Client) -> str:
    """See that no unfinished job is pinned to a version of the model *name*.

    RUNS_DIR is looked at and the API is asked, whose runs may lie elsewhere; the answer
    says why it could not be asked, and is empty if it could.

    Raises:
        ConflictError: some jobs are; the message names the first of them.
    """
    jobs: dict[str, JobStatus | Job] = {
        job.id: job for job in unfinished_jobs(settings, name)
    }
    unasked = ""
    try:
        listed = [*client.jobs(state="queued"), *client.jobs(state="running")]
        jobs |= {job.id: job for job in listed if job.model == name}
    except ApiError as error:
        unasked = str(error)
    if jobs:
        raise ConflictError(_needed(name, list(jobs.values())))
    return unasked


def _needed(name: str, jobs: Sequence[JobStatus | Job]) -> str:
    named = ", ".join(
        f"{job.id} ({job.state}, version {job.version})" for job in jobs[:_NAMED]
    )
    more = f" and {len(jobs) - _NAMED} more" if len(jobs) > _NAMED else ""
    return (
        f"unfinished jobs need {name}: {named}{more}; wait for them, or kennel jobs "
        "cancel JOB"
    )


def _sentence(job: JobStatus) -> str:
    return (
        f"job {job.id} ({job.state}) is pinned to version {job.version}, which is not "
        f"served any more: it will fail; submit {job.input} again, or kennel rollback "
        f"{job.model} {job.version} and kennel jobs retry {job.id}"
    )

"""Unfinished jobs and the versions that they are pinned to."""

from __future__ import annotations

from export.publication.served import served_model
from kennel.settings import KennelSettings
from worker.records import JobRecords
from worker.status import JobStatus


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


def _sentence(job: JobStatus) -> str:
    return (
        f"job {job.id} ({job.state}) is pinned to version {job.version}, which is not "
        f"served any more: it will fail; submit {job.input} again, or kennel rollback "
        f"{job.model} {job.version} and kennel jobs retry {job.id}"
    )

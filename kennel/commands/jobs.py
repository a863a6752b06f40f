"""`kennel jobs`: what became of the folders that were submitted.

Every JOB is an id, or the beginning of one that no other job's id has.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import click

from kennel.commands.api_options import (
    JSON_OPTION,
    KEY_OPTION,
    URL_OPTION,
    open_client,
)
from kennel.commands.following import ResumeHint, fetch_csv, follow, output_option
from models.errors import ConflictError, KennelError

if TYPE_CHECKING:
    from kennel.api.answers import Job
    from kennel.client import Client

_Done = TypeVar("_Done")


@click.group(
    epilog="Examples: kennel jobs list; kennel jobs show 3f9c; "
    "kennel jobs wait 3f9c -o submission.csv"
)
def jobs() -> None:
    """List, show, wait for, fetch, report, cancel, retry or delete folder jobs.

    A JOB is an id of kennel jobs list, or the beginning of one.
    """


@jobs.command(
    "list", epilog="Examples: kennel jobs list; kennel jobs list --state failed"
)
@click.option(
    "--state",
    type=click.Choice(["queued", "running", "succeeded", "failed", "cancelled"]),
    help="Only jobs in this state; default: all.",
)
@click.option(
    "--limit", type=click.IntRange(1), help="Only so many, the newest; default: all."
)
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def list_jobs(
    state: str | None, limit: int | None, url: str, key: str | None, as_json: bool
) -> None:
    """List the jobs, newest first, a line each; times are local."""
    from kennel.job_report import jobs_table

    with open_client(url, key) as client:
        found = client.jobs(state=state, limit=limit)
    if as_json:
        click.echo(json.dumps([job.content for job in found]))
    elif found:
        click.echo(jobs_table(found))
    else:
        which = f"no {state} jobs" if state else "no jobs yet: kennel submit FOLDER"
        click.echo(f"kennel: {which}", err=True)


@jobs.command(
    "show", epilog="Examples: kennel jobs show JOB; kennel jobs show JOB --json"
)
@click.argument("job")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def show_job(job: str, url: str, key: str | None, as_json: bool) -> None:
    """Show one JOB: progress, what answers, the images that could not be read."""
    from kennel.job_report import job_page

    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
    click.echo(json.dumps(found.content) if as_json else job_page(found))


@jobs.command(
    "wait",
    epilog="Examples: kennel jobs wait JOB; kennel jobs wait JOB -o submission.csv",
)
@click.argument("job")
@output_option(None, "Write the CSV there; - is stdout. Default: only wait.")
@URL_OPTION
@KEY_OPTION
def wait_for_job(job: str, output: Path | None, url: str, key: str | None) -> None:
    """Wait until a JOB has succeeded; exits with 1 if it fails or is cancelled.

    The job goes on without this command, which may be given again at any time.
    """
    from kennel.job_report import job_line, submitted_line

    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
        click.echo(submitted_line(found), err=True)
        with ResumeHint("") as hint:
            found = follow(client, found, output, hint)
            if output is not None:
                fetch_csv(client, found, output)
        if output is None:
            click.echo(job_line(found))


@jobs.command(
    "csv", epilog="Examples: kennel jobs csv JOB -o submission.csv; kennel jobs csv JOB"
)
@click.argument("job")
@output_option("-", "Where the CSV goes; - is stdout.")
@URL_OPTION
@KEY_OPTION
def fetch_job(job: str, output: Path, url: str, key: str | None) -> None:
    """Fetch the CSV of a JOB that has succeeded."""
    from kennel.job_report import submitted_line

    with open_client(url, key) as client:
        found = _with_id(client, job, client.job)
        if found.state != "succeeded":
            raise ConflictError(_no_csv(found), code="job_not_finished")
        click.echo(submitted_line(found), err=True)
        fetch_csv(client, found, output)


@jobs.command(
    "report", epilog="Examples: kennel jobs report JOB; kennel jobs report JOB --json"
)
@click.argument("job")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def report_job(job: str, url: str, key: str | None, as_json: bool) -> None:
    """Report what a succeeded JOB did, how long it took and what was lost."""
    from kennel.job_report import report_lines

    with open_client(url, key) as client:
        report = _with_id(client, job, client.report)
    if as_json:
        click.echo(json.dumps(report))
        return
    for line in report_lines(report):
        click.echo(line)


@jobs.command("cancel", epilog="Examples: kennel jobs cancel JOB")
@click.argument("job")
@URL_OPTION
@KEY_OPTION
def cancel_job(job: str, url: str, key: str | None) -> None:
    """Cancel a JOB; what it has computed stays for a retry."""
    from kennel.job_report import job_line

    with open_client(url, key) as client:
        click.echo(job_line(_with_id(client, job, client.cancel)))


@jobs.command("retry", epilog="Examples: kennel jobs retry JOB")
@click.argument("job")
@URL_OPTION
@KEY_OPTION
def retry_job(job: str, url: str, key: str | None) -> None:
    """Retry a failed or cancelled JOB, keeping what is finished."""
    from kennel.job_report import job_line

    with open_client(url, key) as client:
        click.echo(job_line(_with_id(client, job, client.retry)))


@jobs.command(
    "delete", epilog="Examples: kennel jobs delete JOB; kennel jobs delete JOB JOB"
)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@URL_OPTION
@KEY_OPTION
def delete_jobs(jobs: tuple[str, ...], url: str, key: str | None) -> None:
    """Delete each JOB that is over, with its CSV and the photos uploaded for it.

    Exits with 1 if one of them cannot be deleted; the others are all the same.
    """
    from kennel.api.errors import ApiError

    is_done = True
    with open_client(url, key) as client:

        def delete(job: str) -> str:
            client.delete(job)
            return job

        for job in jobs:
            try:
                click.echo(f"{_with_id(client, job, delete)}  deleted")
            except KennelError as error:
                if isinstance(error, ApiError) and error.status not in {404, 409}:
                    raise
                click.echo(f"kennel: {error}", err=True)
                is_done = False
    click.get_current_context().exit(0 if is_done else 1)


def _with_id(client: Client, job: str, act: Callable[[str], _Done]) -> _Done:
    from kennel.api.errors import ApiError

    try:
        return act(job)
    except ApiError as error:
        if error.status != 404:
            raise
    return act(client.full_id(job))


def _no_csv(job: Job) -> str:
    if not job.is_over:
        return (
            f"job {job.id} is {job.state}, {job.done} of {job.total} images are done: "
            f"kennel jobs wait {job.id} -o submission.csv"
        )
    reason = f" ({job.error})" if job.error else ""
    return (
        f"job {job.id} ended as {job.state}{reason}, without a CSV: kennel jobs retry "
        f"{job.id} lets it go on"
    )

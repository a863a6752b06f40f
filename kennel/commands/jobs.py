"""`kennel jobs`: what became of the folders that were submitted."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import click

from kennel.commands.api_options import (
    JSON_OPTION,
    KEY_OPTION,
    URL_OPTION,
    open_client,
)

if TYPE_CHECKING:
    from kennel.api.answers import Job


@click.group(epilog="Examples: kennel jobs list; kennel jobs show JOB")
def jobs() -> None:
    """List, show, report, cancel, retry or delete folder jobs."""


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
    """List the jobs, newest first."""
    with open_client(url, key) as client:
        found = client.jobs(state=state, limit=limit)
    if as_json:
        click.echo(json.dumps([job.content for job in found]))
        return
    for job in found:
        click.echo(_line(job))


@jobs.command(
    "show", epilog="Examples: kennel jobs show JOB; kennel jobs show JOB --json"
)
@click.argument("job")
@URL_OPTION
@KEY_OPTION
@JSON_OPTION
def show_job(job: str, url: str, key: str | None, as_json: bool) -> None:
    """Show one JOB: what answers, and the images that could not be read."""
    with open_client(url, key) as client:
        found = client.job(job)
    if as_json:
        click.echo(json.dumps(found.content))
        return
    from kennel.job_report import what_answers

    click.echo(_line(found))
    click.echo(f"  by {what_answers(found.content)}")
    if found.content.get("waiting"):
        click.echo(f"  waits: {found.content['waiting']}")
    for each in found.unreadable_files:
        click.echo(f"  {each['file']}: {each['detail']}")


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
        report = client.report(job)
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
    with open_client(url, key) as client:
        click.echo(_line(client.cancel(job)))


@jobs.command("retry", epilog="Examples: kennel jobs retry JOB")
@click.argument("job")
@URL_OPTION
@KEY_OPTION
def retry_job(job: str, url: str, key: str | None) -> None:
    """Retry a failed or cancelled JOB, keeping what is finished."""
    with open_client(url, key) as client:
        click.echo(_line(client.retry(job)))


@jobs.command(
    "delete", epilog="Examples: kennel jobs delete JOB; kennel jobs delete JOB JOB"
)
@click.argument("jobs", nargs=-1, required=True, metavar="JOB...")
@URL_OPTION
@KEY_OPTION
def delete_jobs(jobs: tuple[str, ...], url: str, key: str | None) -> None:
    """Delete each JOB that is over, with its CSV and the photos uploaded for it."""
    with open_client(url, key) as client:
        for job in jobs:
            client.delete(job)
            click.echo(f"{job}  deleted")


def _line(job: Job) -> str:
    error = f"  {job.error}" if job.error else ""
    return (
        f"{job.id}  {job.state:<10} {job.done}/{job.total}  "
        f"{job.model} {job.version}  {job.input}{error}"
    )

"""Commands that talk to a running API: one photo, one folder, the jobs.

An API that asks for a key is given the one in KENNEL_API_KEY.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from models.storage import write_atomically

if TYPE_CHECKING:
    from kennel.client import ApiClient

URL_OPTION = click.option(
    "--url",
    envvar="KENNEL_URL",
    default="http://127.0.0.1:8000",
    show_default=True,
    help="The API (or KENNEL_URL).",
)
JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def _client(url: str) -> ApiClient:
    from kennel.client import ApiClient

    # Not an option: command lines are there for every process to see.
    return ApiClient(url, os.environ.get("KENNEL_API_KEY"))


@click.command(
    epilog="Examples: kennel predict rex.jpg; kennel predict *.jpg --clip off"
)
@click.argument(
    "files",
    nargs=-1,
    required=True,
    type=click.Path(exists=True, dir_okay=False, path_type=Path),
)
@click.option("--model", help="Which model; default: the API's default.")
@click.option("--version", help="Which version; default: the newest.")
@click.option("--clip", help="Clip bound, or off; default: the model card's.")
@URL_OPTION
@JSON_OPTION
def predict(
    files: tuple[Path, ...],
    model: str | None,
    version: str | None,
    clip: str | None,
    url: str,
    as_json: bool,
) -> None:
    """Ask the API what is on some photos."""
    answer = _client(url).predict(files, model=model, version=version, clip=clip)
    if as_json:
        click.echo(json.dumps(answer))
        return
    for each in answer["predictions"]:
        if "error" in each:
            click.echo(f"{each['name']}: {each['error']['detail']}")
            continue
        shown = ", ".join(f"{k} {v:.4f}" for k, v in each["probabilities"].items())
        click.echo(f"{each['name']}: {each['label']} ({shown})")


@click.command(
    epilog="Examples: kennel submit test -o submission.csv; "
    "kennel submit test -o s.csv --format kaggle-multiclass --clip 0.95"
)
@click.argument("folder")
@click.option(
    "-o",
    "--output",
    default="submission.csv",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the CSV goes.",
)
@click.option("--model", help="Which model; default: the API's default.")
@click.option(
    "--format",
    "format_",
    type=click.Choice(["kaggle-binary", "kaggle-multiclass", "full"]),
    default="kaggle-binary",
    show_default=True,
    help="What the CSV looks like.",
)
@click.option(
    "--positive", help="kaggle-binary: whose probability; default: last label."
)
@click.option("--clip", help="Clip bound, or off; default: the model card's.")
@click.option(
    "--on-unreadable",
    type=click.Choice(["prior", "fail"]),
    default="prior",
    show_default=True,
    help="An image that cannot be read: uniform prior, or fail the job.",
)
@URL_OPTION
def submit(folder: str, output: Path, url: str, **options: str | None) -> None:
    """Turn FOLDER, a name below the service's INPUT_ROOT, into a CSV."""
    from kennel.jobs import download_submission, follow_job
    from kennel.progress import progress_bars

    client = _client(url)
    options["format"] = options.pop("format_")
    given = {key: value for key, value in options.items() if value is not None}
    job = client.post("/v1/jobs", {"input": folder, **given})
    click.echo(f"Job {job['id']}: {job['progress']['total']} images", err=True)
    with progress_bars() as progress:
        job = follow_job(client, job["id"], progress)
    write_atomically(output, download_submission(client, job))
    unreadable = job["progress"]["unreadable"]
    if unreadable:
        click.echo(
            f"kennel: {unreadable} images could not be read and got the uniform prior; "
            f"kennel jobs show {job['id']} names them",
            err=True,
        )
    click.echo(output)


@click.group(epilog="Examples: kennel jobs list; kennel jobs show JOB")
def jobs() -> None:
    """List, show, cancel or retry folder jobs."""


@jobs.command("list", epilog="Examples: kennel jobs list; kennel jobs list --json")
@URL_OPTION
@JSON_OPTION
def list_jobs(url: str, as_json: bool) -> None:
    """List the jobs, newest first."""
    found = _client(url).get("/v1/jobs")["jobs"]
    if as_json:
        click.echo(json.dumps(found))
        return
    for job in found:
        click.echo(_line(job))


@jobs.command(
    "show", epilog="Examples: kennel jobs show JOB; kennel jobs show JOB --json"
)
@click.argument("job")
@URL_OPTION
@JSON_OPTION
def show_job(job: str, url: str, as_json: bool) -> None:
    """Show one JOB, with the images that could not be read."""
    found = _client(url).get(f"/v1/jobs/{job}")
    if as_json:
        click.echo(json.dumps(found))
        return
    click.echo(_line(found))
    for each in found["unreadable_files"]:
        click.echo(f"  {each['file']}: {each['detail']}")


@jobs.command("cancel", epilog="Examples: kennel jobs cancel JOB")
@click.argument("job")
@URL_OPTION
def cancel_job(job: str, url: str) -> None:
    """Cancel a JOB; what it has computed stays for a retry."""
    click.echo(_line(_client(url).post(f"/v1/jobs/{job}/cancel")))


@jobs.command("retry", epilog="Examples: kennel jobs retry JOB")
@click.argument("job")
@URL_OPTION
def retry_job(job: str, url: str) -> None:
    """Retry a failed or cancelled JOB, keeping what is finished."""
    click.echo(_line(_client(url).post(f"/v1/jobs/{job}/retry")))


def _line(job: dict[str, Any]) -> str:
    progress = job["progress"]
    error = f"  {job['error']}" if job.get("error") else ""
    return (
        f"{job['id']}  {job['state']:<10} {progress['done']}/{progress['total']}  "
        f"{job['model']} {job['version']}  {job['input']}{error}"
    )

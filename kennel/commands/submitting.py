"""`kennel submit`: a folder of photos into a CSV, through the API."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kennel.commands.api_options import (
    CLIP_OPTION,
    KEY_OPTION,
    LABEL_OPTION,
    MODEL_OPTION,
    URL_OPTION,
    VERSION_OPTION,
    open_client,
)

if TYPE_CHECKING:
    from kennel.api.answers import Job
    from kennel.client import Client

_MEBIBYTE: Final = 1024**2
_BY_DEFAULT: Final = " (the default model: --model names another)"
_SHEET: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="Examples: kennel submit test -o submission.csv; "
    "kennel submit --upload photos.zip; "
    "kennel submit test --sample sample_submission.csv --clip 0.95"
)
@click.argument("folder")
@click.option(
    "--upload",
    is_flag=True,
    help="FOLDER is here, a folder, zip, tar or tar.gz: send it.",
)
@click.option(
    "-o",
    "--output",
    default="submission.csv",
    show_default=True,
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where the CSV goes.",
)
@MODEL_OPTION
@VERSION_OPTION
@LABEL_OPTION
@click.option(
    "--format",
    type=click.Choice(["kaggle-binary", "kaggle-multiclass", "full"]),
    help="What the CSV looks like; default: as the sample, or kaggle-binary.",
)
@click.option(
    "--sample",
    "sample_submission",
    type=_SHEET,
    help="Kaggle's sample_submission.csv: its header, its ids in its order.",
)
@click.option(
    "--manifest",
    type=_SHEET,
    help="A CSV that lists the images: a column file, and perhaps id.",
)
@click.option(
    "--positive", help="kaggle-binary: whose probability; default: last label."
)
@CLIP_OPTION
@click.option(
    "--on-unreadable",
    type=click.Choice(["prior", "fail"]),
    default="prior",
    show_default=True,
    help="An image that cannot be read: uniform prior, or fail the job.",
)
@click.option(
    "--max-unreadable",
    metavar="SHARE|COUNT",
    help="More unreadable images end the job: 5% of them, or 20; default: 5%, and at "
    "least 3.",
)
@click.option(
    "--priority",
    type=click.Choice(["high", "normal", "low"]),
    default="normal",
    show_default=True,
    help="Which job gets workers first; jobs of one priority share them.",
)
@URL_OPTION
@KEY_OPTION
def submit(
    folder: str,
    upload: bool,
    output: Path,
    url: str,
    key: str | None,
    **options: Any,
) -> None:
    """Turn FOLDER, a name below the service's INPUT_ROOT, into a CSV.

    Which model and version answer, and whose probability the CSV has, goes to stderr.
    """
    source = Path(folder) if upload else folder
    with open_client(url, key) as client:
        job = _follow(client, source, options)
        client.download(job.id, output)
    if job.unreadable:
        click.echo(
            f"kennel: {job.unreadable} images could not be read and got the uniform "
            f"prior; kennel jobs show {job.id} names them",
            err=True,
        )
    click.echo(output)


def _follow(client: Client, source: str | Path, options: dict[str, Any]) -> Job:
    from kennel.job_report import what_answers
    from kennel.progress import progress_bars

    def sent(count: int, size: int) -> None:
        progress("upload (MiB)", -(-count // _MEBIBYTE), -(-size // _MEBIBYTE))

    def classified(now: Job) -> None:
        progress("classify the folder", now.done, now.total)

    with progress_bars() as progress:
        job = client.submit(source, on_sent=sent, **options)
    answers = what_answers(job.content) + ("" if options["model"] else _BY_DEFAULT)
    click.echo(f"Job {job.id}: {job.total} images by {answers}", err=True)
    with progress_bars() as progress:
        return client.wait(job.id, classified)

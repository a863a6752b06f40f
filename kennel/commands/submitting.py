"""`kennel submit`: a folder of photos into a CSV, through the API."""

from __future__ import annotations

from collections.abc import Sequence
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
from kennel.commands.following import (
    ONLY_PHOTOS,
    ResumeHint,
    fetch_csv,
    follow,
    output_option,
)
from models.errors import quoted_names

if TYPE_CHECKING:
    from kennel.api.answers import Job
    from kennel.client import Client

_MEBIBYTE: Final = 1024**2
_BY_DEFAULT: Final = " (the default model: --model names another)"
_SHEET: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_NOTHING_YET: Final = "The upload did not end: no job was started."
_PERHAPS: Final = "Perhaps the job was started all the same: kennel jobs list shows it."


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
@output_option("submission.csv", "Where the CSV goes; - is stdout.")
@MODEL_OPTION
@VERSION_OPTION
@LABEL_OPTION
@click.option(
    "--format",
    type=click.Choice(["kaggle-binary", "kaggle-multiclass", "label", "full"]),
    help="What the CSV looks like; default: as the sample, or kaggle-binary. label: the "
    "most probable label of each image.",
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
    help="An image that cannot be read: uniform prior (with --format label the first "
    "label), or fail the job.",
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
    The job goes on without this command: Ctrl-C says how to come back to it.
    """
    source = Path(folder) if upload else folder
    words = _NOTHING_YET if upload else _PERHAPS
    with open_client(url, key) as client, ResumeHint(words) as hint:
        job = _start(client, source, options, hint)
        fetch_csv(client, follow(client, job, output, hint), output)


def _start(
    client: Client, source: str | Path, options: dict[str, Any], hint: ResumeHint
) -> Job:
    from kennel.job_report import submitted_line
    from kennel.progress import progress_bars

    def sent(count: int, size: int) -> None:
        progress("upload (MiB)", -(-count // _MEBIBYTE), -(-size // _MEBIBYTE))
        if count == size:
            hint.text = _PERHAPS

    def left_out(names: Sequence[str]) -> None:
        click.echo(f"kennel: not sent: {quoted_names(names)} {ONLY_PHOTOS}", err=True)

    with progress_bars() as progress:
        job = client.submit(source, on_sent=sent, on_left_out=left_out, **options)
    by_default = "" if options["model"] else _BY_DEFAULT
    click.echo(f"{submitted_line(job)}{by_default}", err=True)
    return job

"""`kennel kaggle`: hand a CSV in, see what it scored."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kennel.commands.api_options import JSON_OPTION

if TYPE_CHECKING:
    from kennel.kaggle.calls import KaggleCalls

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)
_TIMEOUT_OPTION = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    help="Seconds that all of it may take.",
)


@click.group(
    epilog="Examples: kennel kaggle submit submission.csv --competition "
    "dogs-vs-cats-redux-kernels-edition --message first; kennel kaggle submissions "
    "dogs-vs-cats-redux-kernels-edition"
)
def kaggle() -> None:
    """Hand submissions in at Kaggle, through its official client.

    Needs pip install 'kennel[kaggle]' and the client's own credentials: KAGGLE_API_TOKEN,
    or KAGGLE_USERNAME and KAGGLE_KEY, or its files below ~/.kaggle.
    """


@kaggle.command(
    epilog="Examples: kennel kaggle submit submission.csv --competition NAME --message "
    "'vgg16, clip 0.985'; kennel kaggle submit s.csv --competition NAME --message second "
    "--sample sample_submission.csv"
)
@click.argument("csv", type=_FILE)
@click.option("--competition", required=True, help="Last part of its address.")
@click.option("--message", required=True, help="What Kaggle shows beside the score.")
@click.option(
    "--sample", type=_FILE, help="The competition's sample: same header, same ids."
)
@_TIMEOUT_OPTION
@JSON_OPTION
def submit(
    csv: Path,
    competition: str,
    message: str,
    sample: Path | None,
    timeout: float,
    as_json: bool,
) -> None:
    """Check CSV, then hand it in once."""
    from export.scoring.csv_files import check_submission

    checked = check_submission(csv, sample)
    click.echo(
        f"{csv}: {','.join(checked.header)}, {checked.rows:,} rows, "
        f"{checked.size_bytes:,} bytes, SHA-256 {checked.sha256}",
        err=True,
    )
    answer = _calls(competition, timeout).submit(csv, message)
    if as_json:
        facts = {**dataclasses.asdict(checked), "path": str(csv)}
        click.echo(json.dumps({"competition": competition, **answer, "file": facts}))
        return
    click.echo(f"submission {answer['ref']}: {answer['message']}")
    click.echo(f"Its score: kennel kaggle submissions {competition}", err=True)


@kaggle.command(
    epilog="Examples: kennel kaggle submissions NAME; kennel kaggle submissions NAME "
    "--json"
)
@click.argument("competition")
@_TIMEOUT_OPTION
@JSON_OPTION
def submissions(competition: str, timeout: float, as_json: bool) -> None:
    """List your latest submissions to COMPETITION with their scores."""
    found = _calls(competition, timeout).submissions()
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        click.echo(_line(each))


def _calls(competition: str, timeout: float) -> KaggleCalls:
    from kennel.kaggle.calls import KaggleCalls

    return KaggleCalls(competition, os.environ, timeout)


def _line(found: dict[str, Any]) -> str:
    scores = f"public {found['public_score'] or '-'}, private {found['private_score'] or '-'}"
    error = f"  {found['error']}" if found["error"] else ""
    return (
        f"{found['ref']}  {found['date']}  {found['status']:<8}  {scores}  "
        f"{found['file']}  {found['description']}{error}"
    )

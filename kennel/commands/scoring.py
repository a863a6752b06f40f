"""Commands about submissions that are already there."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import click

_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)


@click.command(
    epilog="Examples: kennel score submission.csv truth.csv; "
    "kennel score submission.csv truth.csv --json"
)
@click.argument("csv", type=_FILE)
@click.argument("truth", type=_FILE)
@click.option("--json", "as_json", is_flag=True, help="Print the score as JSON.")
def score(csv: Path, truth: Path, as_json: bool) -> None:
    """Score a submission CSV against the TRUTH, by Kaggle's rules."""
    from export.evaluation.scoring import score_submission

    found = score_submission(csv, truth)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    click.echo(
        f"log loss {found.log_loss:.5f}, accuracy {found.accuracy:.4f}, "
        f"{found.images} images"
    )

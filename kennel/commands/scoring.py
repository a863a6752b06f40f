"""Submission CSVs: `kennel score` offline, `kennel kaggle` at Kaggle."""

from __future__ import annotations

import dataclasses
import json
import os
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from kennel.commands.options import JSON_OPTION

if TYPE_CHECKING:
    from export.scoring.score import (
        Hindsight,
        LabelScore,
        MixedUp,
        RenamedLabels,
        Score,
        WorstImage,
    )


_NAMED: Final = 10
_FILE = click.Path(exists=True, dir_okay=False, path_type=Path)

_TIMEOUT_OPTION = click.option(
    "--timeout",
    type=click.FloatRange(min=1),
    default=300,
    show_default=True,
    help="Seconds that the command may take.",
)


@click.command(
    epilog="Examples: kennel score submission.csv truth.csv; "
    "kennel score submission.csv truth.csv --positive dog --worst 30; "
    "kennel score submission.csv truth.csv --json"
)
@click.argument("csv", type=_FILE)
@click.argument("truth", type=_FILE)
@click.option(
    "--positive",
    help="Label whose probability a single column holds; default: 1, or the last of "
    "the truth's two labels in alphabetical order.",
)
@click.option(
    "--worst",
    type=click.IntRange(min=0),
    default=10,
    show_default=True,
    help="List so many images, those with the largest loss.",
)
@JSON_OPTION
def score(
    csv: Path, truth: Path, positive: str | None, worst: int, as_json: bool
) -> None:
    """Score a submission CSV against the TRUTH, by Kaggle's rules.

    The TRUTH has the same ids and a label each (0 and 1, or names), or a column for
    each label; rows whose Usage is Ignored do not count. A CSV of labels has an
    accuracy only.
    """
    from export.scoring.score import score_labels, score_submission

    if (labelled := score_labels(csv, truth)) is not None:
        if as_json:
            click.echo(json.dumps(dataclasses.asdict(labelled)))
            return
        click.echo(f"accuracy {labelled.accuracy:.4f}, {labelled.images} images")
        if labelled.renamed:
            click.echo(_renamed(labelled.renamed))
        _print_recalls(labelled)
        return
    found = score_submission(csv, truth, positive, worst)
    if as_json:
        click.echo(json.dumps(dataclasses.asdict(found)))
        return
    click.echo(
        f"log loss {found.log_loss:.5f}, accuracy {found.accuracy:.4f}, "
        f"{found.images} images{_whose(found.positive)}"
    )
    if found.mixed_up:
        click.echo(_mixed_up(found, found.mixed_up))
    _print_recalls(found)
    click.echo(_hindsight(found.hindsight, found.log_loss))
    _print_worst(found.worst)


def _print_recalls(score: Score | LabelScore) -> None:
    for each in score.recalls:
        share = "none" if each.recall is None else f"{each.recall:.4f}"
        click.echo(f"  recall of {each.label}: {share} of {each.images}")


def _renamed(renamed: RenamedLabels) -> str:
    pairs = [f"{said!r} means {meant!r}" for said, meant in renamed.names]
    return (
        f"labels seem to be mixed up: {_few(pairs)}; so they have accuracy "
        f"{renamed.accuracy:.4f}. Compare what each name or number means in the CSV "
        "and in the truth"
    )


def _few(texts: Sequence[str]) -> str:
    more = f" and {len(texts) - _NAMED} more" if len(texts) > _NAMED else ""
    return f"{', '.join(texts[:_NAMED])}{more}"


def _mixed_up(score: Score, mixed: MixedUp) -> str:
    labels = [each.label for each in score.recalls]
    better = f"log loss {mixed.log_loss:.5f}, accuracy {mixed.accuracy:.4f}"
    if score.positive is not None:
        return (
            f"the CSV seems to be the wrong way round: as the probability of "
            f"{mixed.labels[1]!r}, not of {labels[1]!r}, its column has {better}. Score "
            f"it with --positive {shlex.quote(mixed.labels[1])}, or write it again: "
            "kennel submit --positive names the label whose probability is wanted"
        )
    moved = [
        f"{column!r} holds {label!r}"
        for column, label in zip(labels, mixed.labels, strict=True)
        if column != label
    ]
    return (
        f"columns seem to be mixed up: {_few(moved)}; so they have "
        f"{better}. Put the header's labels into the order of the columns"
    )


def _whose(positive: str | None) -> str:
    return "" if positive is None else f"; the column: probability of {positive}"


def _hindsight(best: Hindsight, log_loss: float) -> str:
    if best.clip is None:
        return "in hindsight: no tighter clip would have scored better"
    return (
        f"in hindsight: a clip at {best.clip:g} would have given {best.log_loss:.5f} "
        f"({best.log_loss - log_loss:+.5f}); chosen on this very truth, so it promises "
        "nothing for other photos"
    )


def _print_worst(worst: tuple[WorstImage, ...]) -> None:
    if not worst:
        return
    together = sum(each.share for each in worst)
    click.echo(f"the worst {len(worst)} are {together:.1%} of the loss:")
    for each in worst:
        click.echo(
            f"  {each.id}: {each.label} got {each.probability:.6f} (said "
            f"{each.predicted}), costs {each.loss:.4f}, {each.share:.2%}"
        )


@click.group(
    epilog="Examples: kennel kaggle submit submission.csv --competition "
    "dogs-vs-cats-redux-kernels-edition --message first; kennel kaggle submissions "
    "dogs-vs-cats-redux-kernels-edition"
)
def kaggle() -> None:
    """Submit CSVs to Kaggle through its official client.

    Needs pip install 'kennel[kaggle]' and the client's own credentials:
    KAGGLE_API_TOKEN, or KAGGLE_USERNAME and KAGGLE_KEY, or its files below ~/.kaggle.
    """


@kaggle.command(
    epilog="Examples: kennel kaggle submit submission.csv --competition NAME --message "
    "'vgg16, clip 0.985'; kennel kaggle submit s.csv --competition NAME --message second "
    "--sample sample_submission.csv"
)
@click.argument("csv", type=_FILE)
@click.option(
    "--competition", required=True, help="Last part of the competition's address."
)
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
    """Check CSV, then submit it once."""
    from export.scoring.csv_files import check_submission
    from kennel.kaggle import submit_csv

    checked = check_submission(csv, sample)
    click.echo(
        f"{csv}: {','.join(checked.header)}, {checked.rows:,} rows, "
        f"{checked.size_bytes:,} bytes, SHA-256 {checked.sha256}",
        err=True,
    )
    answer = submit_csv(csv, competition, message, os.environ, timeout)
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
    from kennel.kaggle import list_submissions

    found = list_submissions(competition, os.environ, timeout)
    if as_json:
        click.echo(json.dumps(found))
        return
    for each in found:
        click.echo(_submission_line(each))


def _submission_line(found: dict[str, Any]) -> str:
    scores = f"public {found['public_score'] or '-'}, private {found['private_score'] or '-'}"
    error = f"  {found['error']}" if found["error"] else ""
    return (
        f"{found['ref']}  {found['date']}  {found['status']:<8}  {scores}  "
        f"{found['file']}  {found['description']}{error}"
    )

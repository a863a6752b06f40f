"""Finished training runs: `kennel evaluate`, `kennel report`, `kennel export`."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kennel.commands.options import note
from kennel.commands.versions import change_of_answers
from kennel.settings import KennelSettings
from kennel.terminal import progress_bars

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="Examples: kennel evaluate pets-20260101-120000; "
    "kennel evaluate RUN --photos var/data/test-pets --probabilities rows.csv"
)
@click.argument("run")
@click.option("--photos", type=_FOLDER, help="Class folders; default: validation.")
@click.option(
    "--probabilities",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Write each photo's calibrated, unclipped probabilities to this CSV.",
)
@click.option("--json", "as_json", is_flag=True, help="Print the figures as JSON.")
def evaluate(
    run: str, photos: Path | None, probabilities: Path | None, as_json: bool
) -> None:
    """Print the figures of RUN on its validation photos or other labelled photos."""
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from export.evaluation.metrics import evaluate_logits
    from export.training.classifier import predict_photos, write_probabilities
    from export.training.runs import read_run

    settings = KennelSettings.from_env(os.environ)
    trained = read_run(run, settings.runs_dir)
    with progress_bars(waiting_for="evaluate"):
        predicted = predict_photos(trained, photos)
    metrics = evaluate_logits(
        predicted.logits, predicted.classes, trained.calibration, trained.split.labels
    )
    if probabilities is not None:
        write_probabilities(predicted, trained, probabilities)
    if predicted.learnt:
        note(
            f"{predicted.learnt:,} of these {len(predicted.files):,} photos "
            "trained the model: figures on them are better than on new ones"
        )
    if as_json:
        diagnosis = dataclasses.asdict(trained.diagnosis)
        click.echo(json.dumps({**metrics, "diagnosis": diagnosis}))
        return
    print_metrics(trained, metrics)
    if photos is None:
        print_expected_score(trained)
    print_diagnosis(trained)


@click.command(epilog="Examples: kennel report RUN; kennel report RUN -o report.html")
@click.argument("run")
@click.option(
    "-o",
    "--output",
    type=click.Path(dir_okay=False, path_type=Path),
    help="Where to write it; default: report.html in the run's folder.",
)
def report(run: str, output: Path | None) -> None:
    """Write the HTML report on RUN's validation photos."""
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from export.report.page import write_report
    from export.report.run_content import run_content
    from export.training.runs import read_run

    trained = read_run(run, KennelSettings.from_env(os.environ).runs_dir)
    path = output or trained.folder / "report.html"
    with progress_bars(waiting_for="report"):
        write_report(run_content(trained), path)
    click.echo(path)


@click.command(
    epilog="Examples: kennel export RUN; kennel export RUN --precision bfloat16; "
    "kennel export RUN --precision auto; kennel export RUN --views none,horizontal"
)
@click.argument("run")
@click.option(
    "--precision",
    type=click.Choice(["auto", "float32", "bfloat16", "float16", "int8"]),
    help="Arithmetic of the network in the graph; auto measures which is the fastest here. "
    "Less than float32 must be as good on the validation photos. Default: int8 for runs "
    "trained in it, else float32.",
)
@click.option(
    "--views",
    help="Flips to average (test-time augmentation), such as none,horizontal; "
    "validated and calibrated anew. Default: the recipe's.",
)
@click.option(
    "--hold",
    is_flag=True,
    help="Publish without loading it; `kennel rollout start` loads it.",
)
def export(run: str, precision: str | None, views: str | None, hold: bool) -> None:
    """Publish RUN as the next version of its model.

    Which model answers requests that name none stays as it is: see kennel default.
    """
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from export.publication.publish import publish
    from export.publication.served import find_default
    from export.training.classifier import validate_views
    from export.training.runs import read_run

    settings = KennelSettings.from_env(os.environ)
    trained = read_run(run, settings.runs_dir)
    with change_of_answers(settings.models_dir, trained.name):
        with progress_bars(waiting_for="export") as progress:
            if views is not None:
                trained = validate_views(trained, read_views(views))
            card = publish(
                trained,
                settings.models_dir,
                precision or "",
                hold_back=hold,
                progress=progress,
            )
        if card.precisions:
            click.echo(card.precisions["summary"])
        folder = settings.models_dir / card.name / str(card.version)
        click.echo(f"Published {card.name} version {card.version}: {folder}")
    default = find_default(os.environ, settings.models_dir)
    click.echo(default.sentence(exported=card.name))


def print_metrics(run: TrainedRun, metrics: Mapping[str, Any]) -> None:
    """Print *metrics* of *run*, on its validation photos or others."""
    from export.evaluation.metrics import format_confusion

    for name, value in format_metrics(metrics).items():
        click.echo(f"{name:<28}{value}")
    click.echo(f"{'temperature':<28}{run.calibration.temperature:.3f}")
    click.echo(f"{'clip bound':<28}{run.calibration.clip_bound}")
    click.echo(f"{'':<28}{run.calibration.clip_choice}")
    click.echo(format_confusion(metrics["confusion_matrix"], run.split.labels))


def print_expected_score(run: TrainedRun) -> None:
    """Print the Kaggle score to expect of *run*, from its validation photos."""
    from export.evaluation.metrics import expected_score
    from models.probabilities import softmax

    logits, classes = run.validation()
    rows = softmax(logits, run.calibration.temperature)
    score = expected_score(rows, classes, run.calibration.clip_bound)
    click.echo(
        f"{'expected Kaggle score':<28}{score.mean:.4f}, nine times in ten "
        f"{score.low:.4f} to {score.high:.4f}"
    )


def print_diagnosis(run: TrainedRun) -> None:
    """Print the diagnosis of *run* and the remedies."""
    found = run.diagnosis
    click.echo(f"{'diagnosis':<28}{found.kind}: {found.evidence}")
    if found.remedies:
        click.echo("Remedies, best first:")
    for number, remedy in enumerate(found.remedies, start=1):
        click.echo(f"  {number}. {remedy}")


def format_metrics(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The most important figures as text."""
    return {
        "images": str(metrics["images"]),
        "accuracy": f"{metrics['accuracy']:.4f}",
        "log loss, raw": f"{metrics['log_loss_raw']:.4f}",
        "log loss, calibrated": f"{metrics['log_loss_calibrated']:.4f}",
        "log loss, clipped": f"{metrics['log_loss_clipped']:.4f}",
        "log loss, clipped at 0.95": f"{metrics['log_loss_fixed']:.4f}",
        "calibration error": f"{metrics['calibration_error_calibrated']:.4f}",
        "macro F1": f"{metrics['macro_f1']:.4f}",
    }


def read_views(text: str) -> tuple[str, ...]:
    """The views that a comma separates in *text*."""
    return tuple(part.strip() for part in text.split(","))

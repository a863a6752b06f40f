"""Commands from labelled photos to a published model."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from kennel.settings import KennelSettings

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

_FOLDER = click.Path(exists=True, file_okay=False, path_type=Path)


@click.command(
    epilog="Examples: kennel train var/data/pets --name pets; "
    "kennel train photos --name solar --recipe pooled --seed 7"
)
@click.argument("data", type=_FOLDER)
@click.option("--name", required=True, help="The model's name.")
@click.option("--recipe", default="pooled", show_default=True, help="How to train.")
@click.option(
    "--weights",
    default="auto",
    show_default=True,
    help="Pretrained weights: imagenet, package, none, or a Keras .h5 file.",
)
@click.option("--valid", default=0.2, show_default=True, help="Share for validation.")
@click.option(
    "--seed", default=42, show_default=True, help="Seed of split and training."
)
@click.option("--run", help="The run's name; default: model name and time.")
def train(
    data: Path, name: str, recipe: str, weights: str, valid: float, seed: int, run: str
) -> None:
    """Train a model on the photos in DATA's class folders."""
    from models.wire.config import check_model_name

    check_model_name(name)
    _start_tensorflow()
    from export.data.photos import list_photos, split_photos
    from export.training.recipes import find_recipe
    from export.training.train import TrainingPlan
    from export.training.train import train as train_run
    from kennel.progress import progress_bars

    settings = KennelSettings.from_env(os.environ)
    run = run or f"{name}-{datetime.now(UTC):%Y%m%d-%H%M%S}"
    plan = TrainingPlan(
        name=name,
        split=split_photos(data.absolute(), list_photos(data), valid, seed),
        recipe=find_recipe(recipe),
        folder=settings.runs_dir / "train" / run,
        cache=settings.cache_dir,
        weights=weights,
    )
    with progress_bars() as progress:
        trained = train_run(plan, progress)
    _print_metrics(trained, trained.metrics)
    click.echo(f"Run: {trained.folder}\nNext: kennel export {run}")


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
    """Figures of RUN on its validation photos, or on other labelled photos."""
    _start_tensorflow()
    from export.evaluation.metrics import evaluate_logits
    from export.evaluation.prediction import predict_photos, write_probabilities
    from export.training.runs import read_run
    from kennel.progress import progress_bars

    settings = KennelSettings.from_env(os.environ)
    trained = read_run(run, settings.runs_dir)
    with progress_bars(waiting_for="evaluate"):
        predicted = predict_photos(trained, photos)
    metrics = evaluate_logits(predicted.logits, predicted.classes, trained.calibration)
    if probabilities is not None:
        write_probabilities(predicted, trained, probabilities)
    if as_json:
        click.echo(json.dumps(metrics))
        return
    _print_metrics(trained, metrics)


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
    from export.report.page import ReportedPhotos, write_report
    from export.training.runs import read_run
    from models.probabilities import softmax

    trained = read_run(run, KennelSettings.from_env(os.environ).runs_dir)
    logits, classes = trained.validation()
    split = trained.split
    path = output or trained.folder / "report.html"
    write_report(
        ReportedPhotos(
            title=f"{trained.name}: {len(classes)} validation photos",
            labels=split.labels,
            files=[Path(split.folder) / photo.file for photo in split.valid],
            classes=classes,
            probabilities=softmax(logits, trained.calibration.temperature),
            clip_bound=trained.calibration.clip_bound,
            figures=_figures(trained.metrics),
        ),
        path,
    )
    click.echo(path)


@click.command(
    epilog="Examples: kennel export RUN; kennel export RUN --precision bfloat16"
)
@click.argument("run")
@click.option(
    "--precision",
    type=click.Choice(["float32", "bfloat16"]),
    default="float32",
    show_default=True,
    help="Arithmetic of the network in the graph.",
)
def export(run: str, precision: str) -> None:
    """Publish RUN as the next version of its model."""
    _start_tensorflow()
    from export.publication.publish import publish
    from export.training.runs import read_run
    from kennel.progress import progress_bars

    settings = KennelSettings.from_env(os.environ)
    trained = read_run(run, settings.runs_dir)
    with progress_bars(waiting_for="export"):
        card = publish(trained, settings.models_dir, precision)
    folder = settings.models_dir / card.name / str(card.version)
    click.echo(f"Published {card.name} version {card.version}: {folder}")


def _start_tensorflow() -> None:
    from models.networks.runtime import start_tensorflow

    start_tensorflow()


def _print_metrics(run: TrainedRun, metrics: dict[str, Any] | Any) -> None:
    from export.evaluation.metrics import format_confusion

    for name, value in _figures(metrics).items():
        click.echo(f"{name:<24}{value}")
    click.echo(f"{'temperature':<24}{run.calibration.temperature:.3f}")
    click.echo(f"{'clip bound':<24}{run.calibration.clip_bound}")
    click.echo(format_confusion(metrics["confusion_matrix"], run.split.labels))


def _figures(metrics: Any) -> dict[str, str]:
    return {
        "images": str(metrics["images"]),
        "accuracy": f"{metrics['accuracy']:.4f}",
        "log loss, raw": f"{metrics['log_loss_raw']:.4f}",
        "log loss, calibrated": f"{metrics['log_loss_calibrated']:.4f}",
        "log loss, clipped": f"{metrics['log_loss_clipped']:.4f}",
    }

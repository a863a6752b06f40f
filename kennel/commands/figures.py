"""A run's figures in the terminal."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import click

if TYPE_CHECKING:
    from export.training.runs import TrainedRun


def print_metrics(run: TrainedRun, metrics: Mapping[str, Any]) -> None:
    """Print *metrics* of *run*, on its validation photos or others."""
    from export.evaluation.metrics import format_confusion

    for name, value in headline(metrics).items():
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
    """Print what is wrong with *run*, or that it is well fit, and the remedies."""
    found = run.diagnosis
    click.echo(f"{'diagnosis':<28}{found.kind}: {found.evidence}")
    if found.remedies:
        click.echo("Remedies, best first:")
    for number, remedy in enumerate(found.remedies, start=1):
        click.echo(f"  {number}. {remedy}")


def headline(metrics: Mapping[str, Any]) -> dict[str, str]:
    """The figures that people compare, as text."""
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

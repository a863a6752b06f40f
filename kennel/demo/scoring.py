"""What the demo's CSV is worth: its score, a report with the photos, a summary."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from kennel.demo.photos import DATA_NOTE, POSITIVE, DemoPhotos
from kennel.demo.serving import Served
from models.contract import ModelCard
from models.probabilities import log_loss

if TYPE_CHECKING:
    from export.report.content import ReportContent
    from export.training.runs import TrainedRun


@dataclass(frozen=True)
class Exam:
    """The photos that nobody trained on, and what the model of *run* said of them."""

    photos: DemoPhotos
    run: TrainedRun
    card: ModelCard
    served: Served


def score_exam(exam: Exam, folder: Path) -> dict[str, Any]:
    """The figures of ``submission.csv`` in *folder*; writes ``report.html`` beside it.

    Raises:
        KennelError: the CSV does not fit the photos.
    """
    from export.report.page import write_report
    from export.scoring.score import score_submission

    score = score_submission(folder / "submission.csv", exam.photos.truth)
    write_report(_report(exam, score.log_loss), folder / "report.html")
    return {
        "accuracy": score.accuracy,
        "log_loss": score.log_loss,
        "log_loss_raw": log_loss(exam.served.raw, _classes(exam)),
        "images": score.images,
        "unreadable": exam.served.job.unreadable,
        "model": exam.card.name,
        "version": exam.card.version,
        "positive": POSITIVE,
    }


def _report(exam: Exam, loss: float) -> ReportContent:
    from export.report.content import ReportedPhotos
    from export.report.run_content import run_content

    card, classes = exam.card, _classes(exam)
    tested = ReportedPhotos(
        labels=card.labels,
        files=[exam.photos.test / f"{n}.png" for n in range(1, len(classes) + 1)],
        classes=classes,
        probabilities=exam.served.raw,
        clip_bound=card.clip_bound,
        temperature=card.temperature,
    )
    return dataclasses.replace(
        run_content(exam.run),
        title=f"{card.name} {card.version}: {len(classes)} test photos",
        photos=tested,
        note=f"{DATA_NOTE} Weights: {card.weights.get('note', '')}.",
        card=dataclasses.asdict(card),
        figures={f"log loss of the CSV (probability of {POSITIVE})": f"{loss:.4f}"},
    )


def _classes(exam: Exam) -> Any:
    return np.array([exam.card.labels.index(label) for label in exam.photos.answers])

"""The report's content of a finished run, on its validation photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from export.data.augmentation.named import parse_augmentation
from export.data.augmentation.options import Augmentation
from export.data.augmentation.pixels import preview_grid
from export.data.sources.reading import read_photo
from export.evaluation.diagnosis import diagnose
from export.evaluation.expectation import expected_score
from export.publication.cards import make_card
from export.report.content import ReportContent, ReportedPhotos
from export.training.classifier import build_member
from export.training.runs import TrainedRun
from models.errors import InvalidImageError
from models.images import decode_image
from models.probabilities import softmax

PREVIEWED_PHOTOS = 4


def run_content(run: TrainedRun) -> ReportContent:
    """Everything that a report can show of *run*.

    Raises:
        DatasetError: its weights or logits are damaged.
    """
    logits, classes = run.validation()
    split, calibration = run.split, run.calibration
    probabilities = softmax(logits, calibration.temperature)
    photos = ReportedPhotos(
        labels=split.labels,
        files=[Path(split.folder) / photo.file for photo in split.valid],
        classes=classes,
        probabilities=probabilities,
        clip_bound=calibration.clip_bound,
        temperature=calibration.temperature,
    )
    return ReportContent(
        title=f"{run.name}: {len(classes)} validation photos",
        photos=photos,
        note=f"Recipe {run.recipe.name}. Weights: {run.weights['source']}. "
        f"{run.weights['note']}",
        expected_score=expected_score(probabilities, classes, calibration.clip_bound),
        epochs=run.history,
        diagnoses=diagnose(run.history, run.metrics, calibration.temperature),
        counts=split.counts(),
        card=_unpublished_card(run),
        augmentations=_augmentations(run),
        classifier=build_member(run, 1).model,
    )


def _unpublished_card(run: TrainedRun) -> dict[str, Any]:
    card = dataclasses.asdict(make_card(run, version=0))
    del card["version"]
    return card


def _augmentations(run: TrainedRun) -> NDArray[np.uint8] | None:
    used = [parse_augmentation(stage.augmentation) for stage in run.recipe.stages]
    augmentation = next((each for each in used if each != Augmentation()), None)
    if augmentation is None:
        return None
    folder = Path(run.split.folder)
    pixels = []
    for photo in run.split.train[:: max(1, len(run.split.train) // PREVIEWED_PHOTOS)]:
        try:
            image = read_photo(folder / photo.file)
            pixels.append(decode_image(image, run.recipe.image_size))
        except InvalidImageError:
            continue
    return (
        preview_grid(np.stack(pixels), augmentation, run.plan.seed) if pixels else None
    )

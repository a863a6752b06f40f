"""From a finished run to the content of its report, on its validation photos."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.data.augmentation import Augmentation, parse_augmentation, preview_grid
from export.data.sources.reading import read_photo
from export.evaluation.metrics import expected_score
from export.recipes.catalogue import EXACT, Stage
from export.recipes.overrides import changed_options
from export.report.content import ReportContent, ReportedPhotos, ReportedStage
from export.report.figures import plural
from export.training.assembly import ever_trained
from export.training.classifier import build_member
from export.training.runs import TrainedRun, make_card
from export.training.stage import stop_reason
from models.errors import InvalidImageError
from models.networks.freezing import freeze_all_but
from models.probabilities import softmax

PREVIEWED_PHOTOS: Final = 4


def run_content(run: TrainedRun) -> ReportContent:
    """The content of the report on *run*, with every section that it can have.

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
        note=_note(run),
        expected_score=expected_score(probabilities, classes, calibration.clip_bound),
        epochs=run.history,
        stages=_stages(run),
        models={n: run.recipe.model_name(n) for n in {e.member for e in run.history}},
        diagnosis=run.diagnosis,
        counts=split.counts(),
        card=_unpublished_card(run),
        augmentations=_augmentations(run),
        classifier=_classifier(run),
    )


def _note(run: TrainedRun) -> str:
    changed = changed_options(run.recipe).items()
    given = ", ".join(f"--{name.replace('_', '-')} {value}" for name, value in changed)
    recipe = f"Recipe {run.recipe.name}{f' with {given}' if given else ''}"
    sentences = [recipe, f"weights: {run.weights['source']}"]
    sentences += [run.weights["note"]] if run.weights["note"] else []
    if run.pseudo_labelled:
        sentences.append(
            f"it learnt from {plural(run.pseudo_labelled, 'unlabelled photo')} too, as "
            f"the run {Path(run.plan.teacher).name} labelled them"
        )
    if run.recipe.folds:
        sentences.append(
            f"figures are of {run.recipe.folds} models, each on the fold of the photos "
            "that it did not learn from; the exported one learnt from all photos"
        )
    return " ".join(f"{each[0].upper()}{each[1:].rstrip('.')}." for each in sentences)


def _stages(run: TrainedRun) -> tuple[ReportedStage, ...]:
    counts = run.parameters.stages if run.parameters else ()
    return tuple(
        ReportedStage(
            number=number,
            model=run.recipe.model_name(model),
            trains=stage.trains,
            parameters=counts[number - 1] if counts else None,
            optimizer=stage.optimizer,
            epochs=len(epochs) or kept,
            kept=kept,
            ended=stop_reason(stage, epochs, kept) or _settled(run, model, stage),
        )
        for number, stage in enumerate(run.recipe.stages, start=1)
        for model, found in sorted(run.kept.items())
        for kept in [found[number - 1]]
        for epochs in [
            [e for e in run.history if (e.member, e.stage) == (model, number)]
        ]
    )


def _settled(run: TrainedRun, model: int, stage: Stage) -> str:
    if run.recipe.folds and model <= run.recipe.members:
        return "as long as was best for the median fold"
    return "least validation loss on the path" if stage.optimizer == EXACT else ""


def _classifier(run: TrainedRun) -> Any:
    network = build_member(run, 1)
    stages = run.recipe.stages
    if run.kept:
        kept = run.kept[1]
        stages = tuple(s for s, epoch in zip(stages, kept, strict=True) if epoch)
    freeze_all_but(network.model, ever_trained(stages, network))
    return network.model


def _unpublished_card(run: TrainedRun) -> dict[str, Any]:
    card = dataclasses.asdict(make_card(run, version=0))
    # These are known once it is published.
    unknown = {"version", "created", "explains"}
    return {name: value for name, value in card.items() if name not in unknown}


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
            pixels.append(run.decode(image))
        except InvalidImageError:
            continue
    return (
        preview_grid(np.stack(pixels), augmentation, run.plan.seed) if pixels else None
    )

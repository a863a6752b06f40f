"""The card of a trained run: what a published version will say of itself."""

from __future__ import annotations

import platform
import subprocess
from dataclasses import asdict
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any

from export.recipes.overrides import changed_options
from export.training.runs import TrainedRun
from models.contract import ModelCard, spread_of
from models.probabilities import softmax

LIBRARIES = ("tensorflow", "keras", "numpy", "pillow")


def make_card(run: TrainedRun, version: int) -> ModelCard:
    """The card of *run* as that *version*."""
    split = run.split
    logits, _ = run.validation()
    return ModelCard(
        name=run.name,
        version=version,
        labels=split.labels,
        image_size=run.recipe.image_size,
        network=run.recipe.network,
        recipe=run.recipe.name,
        temperature=run.calibration.temperature,
        clip_bound=run.calibration.clip_bound,
        clip_choice=run.calibration.clip_choice,
        weights=dict(run.weights),
        training={
            "counts": split.counts(),
            "seed": split.seed,
            "grouping": split.grouping,
            "files_sha256": split.digest(),
            "members": run.recipe.members,
            "folds": run.recipe.folds,
            "options": changed_options(run.recipe),
            **_parameters(run),
            **_pseudo_labels(run),
        },
        metrics={"validation": dict(run.metrics)},
        libraries={
            "python": platform.python_version(),
            **{name: installed_version(name) for name in LIBRARIES},
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_revision=_git_revision(),
        validation_spread=spread_of(softmax(logits, run.calibration.temperature)),
    )


def _parameters(run: TrainedRun) -> dict[str, Any]:
    counts = run.parameters
    if counts is None:
        return {}
    return {"parameters": {**asdict(counts), "stages": list(counts.stages)}}


def _pseudo_labels(run: TrainedRun) -> dict[str, Any]:
    if not run.pseudo_labelled:
        return {}
    found = {"photos": run.pseudo_labelled, "teacher": Path(run.plan.teacher).name}
    return {"pseudo_labelled": found}


def _git_revision() -> str:
    try:
        answer = subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=True,
            timeout=5,
        )
    except (OSError, subprocess.SubprocessError):
        return ""
    return answer.stdout.strip()

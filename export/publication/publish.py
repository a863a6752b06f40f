"""From a trained run to the next served version, in one rename."""

from __future__ import annotations

import fcntl
import platform
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path

import numpy as np

from export.publication.savedmodel import check_savedmodel, write_savedmodel
from export.training.classifier import build_classifier, classify
from export.training.runs import TrainedRun
from models.card import ModelCard
from models.images import decode_image, read_image_file
from models.networks.features import POLICIES
from models.probabilities import softmax
from models.storage import sync_path, temporary_beside, write_atomically
from models.wire.config import (
    check_model_name,
    published_models,
    published_versions,
    render_model_config,
)

LIBRARIES = ("tensorflow", "keras", "numpy", "pillow")
CONTAINER_MODELS_DIR = Path("/models")
"""Where the public tensorflow/serving image expects models."""


def publish(run: TrainedRun, models_dir: Path, precision: str = "float32") -> ModelCard:
    """Export *run* as the next version of its model below *models_dir*.

    The version appears complete, loaded once and compared with Keras, or not at all.

    Raises:
        ModelContractError: the SavedModel does not answer as Keras does.
        DatasetError: the run's weights or photos are gone.
        InvalidRequestError: the model's name cannot be a folder.
    """
    base = models_dir / check_model_name(run.name)
    base.mkdir(parents=True, exist_ok=True)
    with _locked(base):
        number = max(published_versions(base), default=0) + 1
        card = make_card(run, number)
        temporary = temporary_beside(base / str(number))
        try:
            _export(run, card, temporary, precision)
            temporary.rename(base / str(number))
        finally:
            shutil.rmtree(temporary, ignore_errors=True)
        sync_path(base)
    config = render_model_config(published_models(models_dir), CONTAINER_MODELS_DIR)
    write_atomically(models_dir / "models.config", config)
    return card


def make_card(run: TrainedRun, version: int) -> ModelCard:
    """The card of *run* as that *version*."""
    split = run.split
    return ModelCard(
        name=run.name,
        version=version,
        labels=split.labels,
        image_size=run.recipe.image_size,
        network="vgg16",
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
        },
        metrics={"validation": dict(run.metrics)},
        libraries={
            "python": platform.python_version(),
            **{name: installed_version(name) for name in LIBRARIES},
        },
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_revision=_git_revision(),
    )


def _export(run: TrainedRun, card: ModelCard, folder: Path, precision: str) -> None:
    classifier = build_classifier(run, POLICIES[precision])
    split = run.split
    pixels = np.stack(
        [
            decode_image(
                read_image_file(Path(split.folder) / photo.file), card.image_size
            )
            for photo in split.valid[:4]
        ]
    )
    expected = softmax(classify(classifier, pixels), card.temperature)
    write_savedmodel(classifier, card, folder)
    check_savedmodel(folder, card, pixels, expected)


@contextmanager
def _locked(folder: Path) -> Iterator[None]:
    # Two exports of one model at once would want the same number.
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


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

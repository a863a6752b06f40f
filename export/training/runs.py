"""Finished training runs: everything needed to evaluate, explain and export them."""

from __future__ import annotations

import json
import platform
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.data.splits import Split
from export.evaluation.calibration import Calibration
from export.recipes.catalogue import Recipe
from export.recipes.overrides import changed_options
from export.training.checkpoints import Epoch, Snapshot, read_snapshot, write_snapshot
from export.training.diagnosis import Diagnosis, diagnose
from export.training.plans import PLAN_FILE, TrainingPlan, read_plan
from models.contract import INT8, ModelCard, spread_of
from models.errors import (
    ConflictError,
    DatasetError,
    NotFoundError,
    quoted,
    quoted_names,
)
from models.files import parse_json, write_atomically
from models.images.codec import Pixels, decode_image
from models.probabilities import softmax

RUN_FILE: Final = "run.json"
VALIDATION_FILE: Final = "validation.npz"


@dataclass(frozen=True)
class Parameters:
    """Numbers of parameters of one model.

    Attributes:
        all: every one, with the statistics of batch normalisation, which are measured,
            not trained.
        trained: those trained by any stage whose result was kept.
        stages: those trained by each stage.
    """

    all: int
    trained: int
    stages: tuple[int, ...]


@dataclass(frozen=True)
class TrainedRun:
    """A finished run; its arrays and weights lie in its folder.

    ``history`` is of the models that were judged on photos they had not seen: the
    members, or those that held out the folds (numbered after the members). ``kept`` has
    the number of each model, members and folds, and for each stage the epoch that it
    ended with (`Member.kept`). ``answers`` are logits and classes of the validation
    photos where they are not those on the disk. Runs of older releases have neither
    ``kept`` nor ``parameters``. ``pseudo_labelled`` counts the unlabelled photos that
    it learnt from as its plan's teacher labelled them. ``other_precision`` is what the run
    computes in, where that is not the precision that it was trained for.
    """

    plan: TrainingPlan
    weights: Mapping[str, str]
    calibration: Calibration
    metrics: Mapping[str, Any]
    history: tuple[Epoch, ...]
    kept: Mapping[int, tuple[int, ...]] = field(default_factory=dict)
    parameters: Parameters | None = None
    pseudo_labelled: int = 0
    answers: tuple[NDArray[np.float32], NDArray[np.int64]] | None = None
    other_precision: str = ""

    @property
    def folder(self) -> Path:
        """The folder of the run's files."""
        return self.plan.folder

    @property
    def name(self) -> str:
        """The model's name."""
        return self.plan.name

    @property
    def recipe(self) -> Recipe:
        """The recipe that the run was trained by."""
        return self.plan.recipe

    @property
    def split(self) -> Split:
        """The photos that the run was trained and validated on."""
        return self.plan.split

    def decode(self, image: bytes) -> Pixels:
        """The pixels of an encoded *image* that the run's models take.

        Raises:
            InvalidImageError: as `decode_image`.
        """
        return decode_image(image, self.recipe.image_size, self.plan.preprocessing)

    @property
    def precision(self) -> str:
        """The precision that the run's models compute in when they answer."""
        own = INT8 if self.plan.precision == INT8 else "float32"
        return self.other_precision or own

    @property
    def diagnosis(self) -> Diagnosis:
        """The run's diagnosis, from its history and its validation photos."""
        temperature = self.calibration.temperature
        return diagnose(self.history, self.metrics, temperature, self.recipe)

    def validation(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits [N, K] and classes [N] of the validation photos, in split order."""
        if self.answers is not None:
            return self.answers
        logits, classes = read_snapshot(self.folder / VALIDATION_FILE).arrays
        return logits, classes

    def write(self, logits: NDArray[np.float32], classes: NDArray[np.int64]) -> None:
        """Write the validation logits and then the run's file, which finishes the run."""
        write_snapshot(self.folder / VALIDATION_FILE, Snapshot([logits, classes], {}))
        content = {
            "weights": dict(self.weights),
            "calibration": asdict(self.calibration),
            "metrics": dict(self.metrics),
            "history": [asdict(epoch) for epoch in self.history],
            "kept": self.kept,
            "parameters": asdict(self.parameters) if self.parameters else None,
            "diagnosis": asdict(self.diagnosis),
            "pseudo_labelled": self.pseudo_labelled,
        }
        write_atomically(self.folder / RUN_FILE, json.dumps(content, indent=2))


def read_run(run: str | Path, runs_dir: Path) -> TrainedRun:
    """The finished run at a path, or of that name below ``runs_dir/train``.

    Raises:
        NotFoundError: there is no such run.
        ConflictError: the run is not finished.
        DatasetError: the run's files cannot be read.
    """
    folder = find_run(run, runs_dir)
    plan = read_plan(folder)
    path = folder / RUN_FILE
    if not is_finished(folder):
        message = (
            f"the run {folder} is not finished: kennel train --resume {folder.name}"
        )
        raise ConflictError(message, code="run_not_finished")
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        return TrainedRun(
            plan=plan,
            weights=content["weights"],
            calibration=Calibration(**content["calibration"]),
            metrics=content["metrics"],
            history=_epochs(content["history"]),
            kept={int(n): tuple(k) for n, k in content.get("kept", {}).items()},
            parameters=_read_parameters(content.get("parameters")),
            pseudo_labelled=content.get("pseudo_labelled", 0),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} cannot be read ({error}): train again"
        raise DatasetError(message) from error


def is_finished(folder: Path) -> bool:
    """Whether the run in *folder* has nothing left to train."""
    return (folder / RUN_FILE).exists()


def find_run(run: str | Path, runs_dir: Path) -> Path:
    """The folder of a run, finished or not: a path, or a name below ``runs_dir/train``.

    The beginning of a name is enough if no other run's name begins so.

    Raises:
        NotFoundError: there is none.
        ConflictError: several names begin so.
    """
    for folder in (Path(run), runs_dir / "train" / run):
        if str(run) and (folder / PLAN_FILE).exists():
            return folder
    plans = (runs_dir / "train").glob(f"*/{PLAN_FILE}")
    names = sorted(plan.parent.name for plan in plans)
    found = [name for name in names if str(run) and name.startswith(str(run))]
    if not found:
        message = f"no training run {quoted(str(run))}: see {runs_dir / 'train'}"
        raise NotFoundError(message, code="run_not_found")
    if len(found) > 1:
        several = quoted_names(reversed(found))
        message = f"several runs begin with {quoted(str(run))}: {several}"
        raise ConflictError(message, code="ambiguous_run")
    return runs_dir / "train" / found[0]


def _read_parameters(counts: Mapping[str, Any] | None) -> Parameters | None:
    if counts is None:
        return None
    return Parameters(**{**counts, "stages": tuple(counts["stages"])})


def _epochs(history: Sequence[Mapping[str, Any]]) -> tuple[Epoch, ...]:
    return tuple(Epoch(**each) for each in history)


CARD_LIBRARIES = ("tensorflow", "keras", "numpy", "pillow")


def make_card(run: TrainedRun, version: int) -> ModelCard:
    """The card of *run* as that *version*."""
    split = run.split
    logits, _ = run.validation()
    return ModelCard(
        name=run.name,
        version=version,
        labels=split.labels,
        image_size=run.recipe.image_size,
        preprocessing=run.plan.preprocessing,
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
            **_card_precision(run),
            **_card_parameters(run),
            **_card_pseudo_labels(run),
        },
        metrics={"validation": dict(run.metrics)},
        libraries={
            "python": platform.python_version(),
            **{name: installed_version(name) for name in CARD_LIBRARIES},
        },
        precision=run.precision,
        created=datetime.now(UTC).isoformat(timespec="seconds"),
        git_revision=_git_revision(),
        validation_spread=spread_of(softmax(logits, run.calibration.temperature)),
    )


def _card_precision(run: TrainedRun) -> dict[str, str]:
    chosen = run.plan.chosen_precision
    return {"precision": chosen} if chosen else {}


def _card_parameters(run: TrainedRun) -> dict[str, Any]:
    counts = run.parameters
    if counts is None:
        return {}
    return {"parameters": {**asdict(counts), "stages": list(counts.stages)}}


def _card_pseudo_labels(run: TrainedRun) -> dict[str, Any]:
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

"""A training run: a folder that holds everything needed to evaluate and export it."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from export.data.photos import Split, read_split
from export.evaluation.calibration import Calibration
from export.training.recipes import Recipe
from models.errors import DatasetError, NotFoundError
from models.storage import write_atomically

RUN_FILE: Final = "run.json"
SPLIT_FILE: Final = "split.json"
HEAD_FILE: Final = "head.keras"
VALIDATION_FILE: Final = "validation.npz"


@dataclass(frozen=True)
class TrainedRun:
    """What a finished run knows; arrays and weights lie beside it."""

    folder: Path
    name: str
    recipe: Recipe
    weights: Mapping[str, str]
    weights_choice: str
    calibration: Calibration
    metrics: Mapping[str, Any]
    history: Mapping[str, list[float]]

    @property
    def split(self) -> Split:
        """The photos that it was trained and validated on."""
        return read_split(self.folder / SPLIT_FILE)

    @property
    def head_path(self) -> Path:
        """The trained head, as Keras saves it."""
        return self.folder / HEAD_FILE

    def validation(self) -> tuple[NDArray[np.float32], NDArray[np.int64]]:
        """Logits [N, K] and classes [N] of the validation photos, in split order."""
        with np.load(self.folder / VALIDATION_FILE) as stored:
            return stored["logits"], stored["classes"]

    def write(self) -> None:
        """Write the run's file, last of all: without it a run is not finished."""
        content = asdict(replace(self, folder=Path()))
        del content["folder"]
        write_atomically(self.folder / RUN_FILE, json.dumps(content, indent=2))


def read_run(run: str | Path, runs_dir: Path) -> TrainedRun:
    """The finished run at a path, or of that name below ``runs_dir/train``.

    Raises:
        NotFoundError: there is none.
        DatasetError: its file cannot be read.
    """
    candidates = [Path(run), runs_dir / "train" / run]
    folder = next((each for each in candidates if (each / RUN_FILE).exists()), None)
    if folder is None:
        message = f"no finished training run {str(run)!r}: see {runs_dir / 'train'}"
        raise NotFoundError(message, code="run_not_found")
    try:
        content = json.loads((folder / RUN_FILE).read_text(encoding="utf-8"))
        recipe: dict[str, Any] = {
            key: tuple(value) if isinstance(value, list) else value
            for key, value in content.pop("recipe").items()
        }
        calibration = Calibration(**content.pop("calibration"))
        return TrainedRun(
            folder=folder, recipe=Recipe(**recipe), calibration=calibration, **content
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{folder / RUN_FILE} cannot be read ({error}): train again"
        raise DatasetError(message) from error

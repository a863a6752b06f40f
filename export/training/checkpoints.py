"""Checkpoints: weights and epochs on disk, from which a killed run resumes.

The best weights lie in a file of their own, named by their epoch and written before the
checkpoint that points to them: whichever moment a run is killed at, the two agree.
"""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.files import open_atomically, parse_json

_FACTS: Final = "facts"
Weights = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class Epoch:
    """One pass over the training photos, and the validation after it.

    Attributes:
        member: number of the ensemble's member, from 1.
        stage: number of the recipe's stage, from 1.
        number: epoch within the stage, from 1.
        loss: mean training loss of the epoch, dropout and augmentation included.
        accuracy: share of training photos right in the epoch, likewise.
    """

    member: int
    stage: int
    number: int
    learning_rate: float
    loss: float
    accuracy: float
    val_loss: float
    val_accuracy: float


@dataclass(frozen=True)
class StageProgress:
    """Progress of a stage: its epochs so far, and the number of the best (0: the start).

    ``best_loss`` is the least validation loss yet.
    """

    member: int
    stage: int
    epochs: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoint of the stage that a run is training."""

    folder: Path

    def write(self, progress: StageProgress, state: Weights) -> None:
        """Replace the checkpoint; *state*: all arrays that training resumes from."""
        write_snapshot(self._path, Snapshot(state, asdict(progress)))
        for old in self.folder.glob("best-*.npz"):
            if old != self._best_path(progress.best_epoch):
                old.unlink()

    def write_best(self, epoch: int, weights: Weights) -> None:
        """Keep the weights after *epoch*, before the checkpoint that names it."""
        write_snapshot(self._best_path(epoch), Snapshot(weights, {"epoch": epoch}))

    def read(self, member: int, stage: int) -> tuple[StageProgress, Weights] | None:
        """The checkpoint of *stage* of *member*; None if that had not begun."""
        if not self._path.exists():
            return None
        found = read_snapshot(self._path)
        if (found.facts["member"], found.facts["stage"]) != (member, stage):
            return None
        epochs = tuple(Epoch(**each) for each in found.facts["epochs"])
        progress = StageProgress(**{**found.facts, "epochs": epochs})
        return progress, found.arrays

    def read_best(self, epoch: int) -> Weights:
        """The weights after *epoch*."""
        return read_snapshot(self._best_path(epoch)).arrays

    def clear(self) -> None:
        """Delete the checkpoint, once the stage's result is written."""
        self._path.unlink(missing_ok=True)
        for path in self.folder.glob("best-*.npz"):
            path.unlink()

    @property
    def _path(self) -> Path:
        return self.folder / "checkpoint.npz"

    def _best_path(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"


@dataclass(frozen=True)
class Snapshot:
    """Arrays in a fixed order, and JSON facts that belong to them."""

    arrays: Sequence[NDArray[Any]]
    facts: Mapping[str, Any]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Write *snapshot* to *path*, durably, in one rename.

    Raises:
        OSError: the disk is full; *path* is as it was.
    """
    named = {f"{number:05d}": array for number, array in enumerate(snapshot.arrays)}
    named[_FACTS] = np.frombuffer(json.dumps(snapshot.facts).encode(), np.uint8)
    with open_atomically(path) as stream:
        np.savez(stream, allow_pickle=False, **named)


def read_snapshot(path: Path) -> Snapshot:
    """The snapshot that `write_snapshot` wrote to *path*.

    Raises:
        DatasetError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = parse_json(stored[_FACTS].tobytes())
            names = sorted(set(stored.files) - {_FACTS})
            return Snapshot([stored[name] for name in names], facts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        message = f"{path} cannot be read as weights ({error}): train again"
        raise DatasetError(message) from error

"""Where a stage stands after each epoch, so that a killed run goes on from there.

The best weights lie in a file of their own, named by their epoch and written before the
checkpoint that points to them: whichever moment a run is killed at, the two agree.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from numpy.typing import NDArray

from export.stages.history import Epoch
from export.stages.snapshots import Snapshot, read_snapshot, write_snapshot

Weights = Sequence[NDArray[Any]]


@dataclass(frozen=True)
class StageProgress:
    """How far a stage is: its epochs so far, and the number of the best (0: the start).

    ``best_loss`` is the least validation loss yet.
    """

    member: int
    stage: int
    epochs: tuple[Epoch, ...]
    best_epoch: int
    best_loss: float


@dataclass(frozen=True)
class CheckpointFolder:
    """The checkpoint of the one stage that is under way in a run."""

    folder: Path

    def write(self, progress: StageProgress, state: Weights) -> None:
        """Replace the checkpoint; *state* is all that training goes on from."""
        write_snapshot(self._path, Snapshot(state, asdict(progress)))
        for old in self.folder.glob("best-*.npz"):
            if old != self._best_path(progress.best_epoch):
                old.unlink()

    def write_best(self, epoch: int, weights: Weights) -> None:
        """Keep the weights after *epoch*, before the checkpoint that names it."""
        write_snapshot(self._best_path(epoch), Snapshot(weights, {"epoch": epoch}))

    def read(self, member: int, stage: int) -> tuple[StageProgress, Weights] | None:
        """What that stage was at when it was interrupted; None if it had not begun."""
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
        """Forget the stage: its result is written."""
        self._path.unlink(missing_ok=True)
        for path in self.folder.glob("best-*.npz"):
            path.unlink()

    @property
    def _path(self) -> Path:
        return self.folder / "checkpoint.npz"

    def _best_path(self, epoch: int) -> Path:
        return self.folder / f"best-{epoch}.npz"

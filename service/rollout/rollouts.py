"""What the operator has decided, read again whenever it changes."""

from __future__ import annotations

from pathlib import Path

from models.files import WatchedFile
from models.rollouts import LOOK_SECONDS, ROLLOUTS_FILE, Rollout, read_rollouts


class Rollouts:
    """The last rollout of each model; thread-safe."""

    def __init__(self, models_dir: Path, look_seconds: float = LOOK_SECONDS) -> None:
        """Read those in *models_dir*; looks whether they changed lie *look_seconds* apart.

        Raises:
            InvalidRequestError: the file is broken.
        """
        self._file = WatchedFile(
            models_dir / ROLLOUTS_FILE, read_rollouts, "rollouts", look_seconds
        )

    def of(self, name: str) -> Rollout | None:
        """The last rollout of the model *name*, whatever became of it."""
        return self._file().get(name)

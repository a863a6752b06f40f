"""Version pinning: during a rollout, requests that name no version get the stable one.

All calls of the API to the model server pass here. While a rollout is open, and after it was
aborted, "no version" means the stable version. An answer of a version that is held back is
discarded, whatever the order of events, and the call is repeated with the stable version.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
from numpy.typing import NDArray

from models.contract import ModelCard
from models.errors import ModelUnavailableError, NotFoundError
from models.files import WatchedFile
from models.images.codec import Pixels
from models.rollouts import ROLLOUT_LOOK_SECONDS, ROLLOUTS_FILE, Rollout, read_rollouts
from models.wire.client import Cancellation, ModelServer
from models.wire.messages import (
    Explanation,
    Images,
    ModelRef,
    Prediction,
    VersionStatus,
)


class Rollouts:
    """The last rollout of each model, as the operator decided; thread-safe."""

    def __init__(
        self, models_dir: Path, look_seconds: float = ROLLOUT_LOOK_SECONDS
    ) -> None:
        """Read those in *models_dir*, and again when they change.

        Raises:
            InvalidRequestError: the file is broken.
        """
        self._file = WatchedFile(
            models_dir / ROLLOUTS_FILE, read_rollouts, "rollouts", look_seconds
        )

    def of(self, name: str) -> Rollout | None:
        """The last rollout of the model *name*, in any state."""
        return self._file().get(name)


class _Versioned(Protocol):
    @property
    def version(self) -> int: ...


_Answer = TypeVar("_Answer", bound=_Versioned)


@dataclass(frozen=True)
class PinnedModelServer:
    """*server*, whose held-back versions answer only calls that name them; thread-safe."""

    server: ModelServer
    rollouts: Rollouts

    def predict(
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Prediction:
        """As `ModelServerClient.predict`."""
        return self._call(
            model,
            lambda named: self.server.predict(
                images, named, timeout_seconds, cancellation
            ),
        )

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Explanation:
        """As `ModelServerClient.explain`."""
        return self._call(
            model,
            lambda named: self.server.explain(
                batch, classes, named, timeout_seconds, cancellation
            ),
        )

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """As `ModelServerClient.describe`."""
        return self._call(
            model, lambda named: self.server.describe(named, timeout_seconds)
        )

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """As `ModelServerClient.versions`, with those that are held back."""
        return self.server.versions(name, timeout_seconds)

    def _call(self, model: ModelRef, call: Callable[[ModelRef], _Answer]) -> _Answer:
        if model.is_exact:
            return call(model)
        rollout = self.rollouts.of(model.name)
        if rollout is not None and rollout.pins:
            try:
                return call(ModelRef(model.name, version=rollout.stable))
            except NotFoundError:
                # The stable version was unloaded meanwhile: any other than the canary.
                pass
        return self._call_unpinned(model, call)

    def _call_unpinned(
        self, model: ModelRef, call: Callable[[ModelRef], _Answer]
    ) -> _Answer:
        answer = call(model)
        # Read after the call: the file then names every canary that was loaded before it.
        rollout = self.rollouts.of(model.name)
        if rollout is None or not rollout.holds(answer.version):
            return answer
        try:
            return call(ModelRef(model.name, version=rollout.stable))
        except NotFoundError as error:
            message = (
                f"version {rollout.stable} of {model} is not loaded, and version "
                f"{rollout.canary} is held back: kennel rollback or kennel rollout"
            )
            raise ModelUnavailableError(message) from error

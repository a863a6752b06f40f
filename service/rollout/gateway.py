"""The gateway of rollouts: which version answers a request while a rollout is open.

Pinning. All calls of the API to the model server pass `PinnedModelServer`: while a rollout is
open, and after it was aborted, a call that names no version gets the stable one. An answer of a
version that is held back is discarded, whatever the order of events, and the call is repeated
with the stable version.

Canary. `Gateway`, in front of the predictor, sends a share of the requests that name no version
to the canary. A hash assigns each request, so that all processes agree: requests with one
`X-Rollout-Key` stay on one version, and when the share grows, clients on the canary stay there.
The version is chosen before anything is decoded, so that requests gather in batches of one
version. If the canary fails, the stable version answers: no request fails because of a rollout.
Shadow requests send some of the canary's photos to the stable version too, in the background.
"""

from __future__ import annotations

import hashlib
import logging
import time
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from queue import Full, Queue
from typing import Final, NamedTuple, Protocol, TypeVar

import numpy as np
from flask import request
from numpy.typing import NDArray

from models.contract import ModelCard
from models.errors import (
    KennelError,
    ModelContractError,
    ModelUnavailableError,
    NotFoundError,
)
from models.files import WatchedFile
from models.images.codec import Pixels
from models.rollouts import (
    CANARY,
    ROLLOUT_LOOK_SECONDS,
    ROLLOUTS_FILE,
    RUNNING,
    STABLE,
    Rollout,
    read_rollouts,
)
from models.wire.client import Cancellation, ModelServer
from models.wire.messages import (
    Explanation,
    Images,
    ModelRef,
    Prediction,
    VersionStatus,
)
from service.http.budget import Budget
from service.http.headers import request_id
from service.http.record import current_record
from service.http.threads import BackgroundThread
from service.predict.catalog import Catalog
from service.predict.predictor import ImageResults, Predictor
from service.rollout.counters import (
    DROPPED,
    UNPAIRED,
    Counters,
    count_answer,
    count_error,
    count_pairs,
)

ROLLOUT_KEY_HEADER: Final = "X-Rollout-Key"

CANARY_SHARE: Final = 0.5
"""Of the time left that the canary may take: the rest is for the stable version."""

SHADOW_QUEUE: Final = 4
"""Tasks that wait in a process."""

SHADOW_BYTES: Final = 4 * 1024**2
"""Most bytes of a request's photos: larger requests are not compared."""

_SHADOW_SECONDS: Final = 10.0

_HASH_RANGE: Final = 2**32

logger = logging.getLogger(__name__)


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


@dataclass(frozen=True)
class Gateway:
    """Predicts as *predictor* does, with the version that a rollout assigns."""

    predictor: Predictor
    rollouts: Rollouts
    counters: Counters
    shadow: Shadow

    @property
    def catalog(self) -> Catalog:
        """The served models."""
        return self.predictor.catalog

    def predict(
        self,
        images: Sequence[bytes],
        model: ModelRef,
        accept: Callable[[ModelCard], None],
        budget: Budget,
    ) -> ImageResults:
        """As `Predictor.predict`, for the request in work."""
        rollout = self._running(model)
        if rollout is None:
            return self.predictor.predict(images, model, accept, budget)
        call = _RolloutRequest(self.predictor, rollout, images, accept, budget)
        assigned = assign(
            rollout, request.headers.get(ROLLOUT_KEY_HEADER) or request_id()
        )
        if assigned.canary >= rollout.share:
            return self._predict_stable(call)
        try:
            answer, counts = call.predict(CANARY, budget.part(CANARY_SHARE))
        except KennelError:
            answer = self._predict_stable(call)
            # Counted only here: what the stable version refuses too is no canary error.
            self.counters.add(rollout, count_error(CANARY))
            return answer
        self.counters.add(rollout, counts)
        current_record().label = CANARY
        if assigned.shadow < rollout.mirror:
            self.shadow.offer(ShadowTask(rollout, images, answer))
        return answer

    def _predict_stable(self, call: _RolloutRequest) -> ImageResults:
        try:
            answer, counts = call.predict(STABLE, call.budget)
        except (ModelUnavailableError, ModelContractError):
            self.counters.add(call.rollout, count_error(STABLE))
            raise
        self.counters.add(call.rollout, counts)
        return answer

    def _running(self, model: ModelRef) -> Rollout | None:
        if model.is_exact:
            return None
        rollout = self.rollouts.of(model.name)
        return rollout if rollout is not None and rollout.state == RUNNING else None


@dataclass(frozen=True)
class _RolloutRequest:
    predictor: Predictor
    rollout: Rollout
    images: Sequence[bytes]
    accept: Callable[[ModelCard], None]
    budget: Budget

    def predict(self, side: str, budget: Budget) -> tuple[ImageResults, Counter[str]]:
        version = self.rollout.canary if side == CANARY else None
        model = ModelRef(self.rollout.model, version=version)
        began = time.perf_counter()
        answer = self.predictor.predict(self.images, model, self.accept, budget)
        return answer, count_answer(side, answer, time.perf_counter() - began)


class Assignment(NamedTuple):
    """Two independent percentages, 0 to below 100, to compare with a rollout's shares."""

    canary: float
    shadow: float


def assign(rollout: Rollout, key: str) -> Assignment:
    """The percentages of requests with *key*; each rollout has its own."""
    digest = hashlib.blake2b(f"{rollout.id}:{key}".encode(), digest_size=8).digest()
    return Assignment(_percentage(digest[:4]), _percentage(digest[4:]))


def _percentage(digits: bytes) -> float:
    return 100 * int.from_bytes(digits) / _HASH_RANGE


@dataclass(frozen=True)
class ShadowTask:
    """The photos of one request, and the canary's answer."""

    rollout: Rollout
    images: Sequence[bytes]
    answer: ImageResults


class Shadow:
    """Repeats requests of the canary with the stable version; thread-safe.

    The answers are compared and counted. A process makes one call at a time; a few tasks
    wait, others are dropped and counted, so that comparisons never delay requests.
    """

    def __init__(self, predictor: Predictor, counters: Counters) -> None:
        """Ask *predictor* and count in *counters*; no thread before the first task."""
        self._predictor = predictor
        self._counters = counters
        self._tasks: Queue[ShadowTask] = Queue(SHADOW_QUEUE)
        self._thread = BackgroundThread(self._run, "rollout-shadow")

    def offer(self, task: ShadowTask) -> None:
        """Queue *task*; drop and count it if it is too large or too many wait."""
        try:
            if sum(map(len, task.images)) > SHADOW_BYTES:
                raise Full
            self._tasks.put_nowait(task)
        except Full:
            self._counters.add(task.rollout, Counter({DROPPED: len(task.images)}))
            return
        self._thread.start()

    def _run(self) -> None:
        while True:
            task = self._tasks.get()
            self._counters.add(task.rollout, self._compare(task))

    def _compare(self, task: ShadowTask) -> Counter[str]:
        stable = ModelRef(task.rollout.model, version=task.rollout.stable)
        try:
            other = self._predictor.predict(
                task.images, stable, lambda _: None, Budget(_SHADOW_SECONDS)
            )
        except KennelError as error:
            logger.debug("%s", error)
            return Counter({UNPAIRED: len(task.images)})
        return count_pairs(task.answer, other)

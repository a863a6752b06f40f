"""From pixels to probabilities: the client of TensorFlow Serving's gRPC API.

Every call has a deadline. Pixels are checked before they leave: a tensor of the wrong
rank makes TensorFlow Serving's process abort when oneDNN is on. Open a client after a
fork, never before.
"""

from __future__ import annotations

import time
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.contract import (
    CARD_OUTPUT,
    CLASSES_INPUT,
    DESCRIBE_SIGNATURE,
    EXPLAIN_SIGNATURE,
    IMAGES_INPUT,
    MAX_BATCH_SIZE,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
)
from models.errors import MissingSignatureError, ModelContractError, NotFoundError
from models.images import Pixels
from models.wire import messages
from models.wire.answers import effective_version, read_output, read_rows
from models.wire.channel import Channel
from models.wire.explanations import Explanation, check_classes, read_explanation
from models.wire.observer import CallObserver
from models.wire.requests import (
    Images,
    check_images,
    images_request,
    inputs_request,
)
from models.wire.tensors import to_tensor

DEFAULT_TIMEOUT_SECONDS: Final = 10.0


@dataclass(frozen=True)
class ModelRef:
    """Which model answers: the newest version, a pinned one, or one by its label."""

    name: str
    version: int | None = None
    label: str | None = None

    def __str__(self) -> str:
        """As in error messages: name, name version 3, name label canary."""
        if self.version is not None:
            return f"{self.name!r} version {self.version}"
        return f"{self.name!r} label {self.label!r}" if self.label else repr(self.name)


@dataclass(frozen=True)
class Prediction:
    """Answers for N images: [N, K] float32 each, and the version that gave them."""

    probabilities: NDArray[np.float32]
    logits: NDArray[np.float32]
    version: int


@dataclass(frozen=True)
class VersionStatus:
    """One version of a model: START, LOADING, AVAILABLE, UNLOADING or END."""

    version: int
    state: str
    error: str = ""


class ModelServerClient:
    """One channel to the model servers; thread-safe; a context manager."""

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        observer: CallObserver | None = None,
    ) -> None:
        """Open a channel to *target*; the first call connects.

        *observer* is told of every call.

        Raises:
            InvalidRequestError: *target* is no address (`models.model_address`).
        """
        self._timeout = timeout_seconds
        self._channel = Channel(target, observer)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Close the channel."""
        self.close()

    def close(self) -> None:
        """Close the channel; calls in flight end as unavailable."""
        self._channel.close()

    def predict(
        self, images: Images, model: ModelRef, timeout_seconds: float | None = None
    ) -> Prediction:
        """Probabilities and logits for *images*, uint8 RGB of one size, at least one.

        More than 32 images are sent in several calls, all answered by one version and
        within one timeout.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, deadline passed).
            ModelContractError: the server or the answer is not what it should be.
        """
        deadline = time.monotonic() + (timeout_seconds or self._timeout)
        parts: list[Prediction] = []
        for start in range(0, max(len(images), 1), MAX_BATCH_SIZE):
            part = images[start : start + MAX_BATCH_SIZE]
            left = max(deadline - time.monotonic(), 0.001)
            parts.append(self._predict_once(part, model, left))
            model = ModelRef(model.name, version=parts[0].version)
        return parts[0] if len(parts) == 1 else _joined(parts)

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
    ) -> Explanation:
        """Where in each image of a *batch* of up to 32 the *classes* [N] are seen.

        A class of -1 stands for the image's most probable one.

        Raises:
            MissingSignatureError: the version explains nothing.
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        check_images(batch)
        check_classes(classes, len(batch))
        inputs = {IMAGES_INPUT: to_tensor(batch), CLASSES_INPUT: to_tensor(classes)}
        request = inputs_request(_spec(model, EXPLAIN_SIGNATURE), inputs)
        try:
            response = self._predict(request, model, len(batch), timeout_seconds)
        except MissingSignatureError as error:
            message = f"{model} cannot explain itself: export it again"
            raise MissingSignatureError(message, code="not_implemented") from error
        return read_explanation(response, classes, model)

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """The card of the version that serves *model* now.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        inputs = {REQUEST_INPUT: to_tensor(np.zeros(1, dtype=np.int32))}
        request = inputs_request(_spec(model, DESCRIBE_SIGNATURE), inputs)
        response = self._predict(request, model, 0, timeout_seconds)
        text = read_output(response, CARD_OUTPUT)
        if text.shape != (1,):
            raise ModelContractError(f"{model} describes itself {text.shape} times")
        card = ModelCard.from_json(text[0])
        # The directory's number is the version; a copied SavedModel may say another.
        return replace(card, name=model.name, version=effective_version(response))

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """All versions of a model that the server knows, newest first.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        request = messages.GetModelStatusRequest()
        request.model_spec.name = name
        try:
            response = self._channel.model_status(
                request, timeout_seconds or self._timeout
            )
        except NotFoundError as error:
            raise _not_found(ModelRef(name)) from error
        states = messages.ModelVersionStatus.State
        statuses = [
            VersionStatus(
                int(each.version), states.Name(each.state), each.status.error_message
            )
            for each in response.model_version_status
        ]
        return sorted(statuses, key=lambda each: -each.version)

    def _predict_once(
        self, images: Images, model: ModelRef, timeout_seconds: float | None
    ) -> Prediction:
        request = images_request(_spec(model, SERVING_SIGNATURE), images)
        response = self._predict(request, model, len(images), timeout_seconds)
        rows = read_rows(response, len(images), model)
        return Prediction(*rows, effective_version(response))

    def _predict(
        self,
        request: bytes,
        model: ModelRef,
        images: int,
        timeout_seconds: float | None,
    ) -> Any:
        timeout = timeout_seconds or self._timeout
        try:
            return self._channel.predict(request, model.name, images, timeout)
        except NotFoundError as error:
            raise _not_found(model) from error


def _spec(model: ModelRef, signature: str) -> Any:
    spec = messages.ModelSpec(name=model.name, signature_name=signature)
    if model.version is not None:
        spec.version.value = model.version
    elif model.label is not None:
        spec.version_label = model.label
    return spec


def _joined(parts: list[Prediction]) -> Prediction:
    return Prediction(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        parts[0].version,
    )


def _not_found(model: ModelRef) -> NotFoundError:
    remedy = "GET /v1/models lists what is served"
    if model.version is not None:
        code = "version_not_found"
    elif model.label is not None:
        code = "label_not_found"
    else:
        code = "model_not_found"
    return NotFoundError(f"model {model} is not served: {remedy}", code=code)

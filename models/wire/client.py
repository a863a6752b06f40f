"""From pixels to probabilities: the client of TensorFlow Serving's gRPC API.

Every call has a deadline. Pixels are checked before they leave: a tensor of the wrong
rank makes TensorFlow Serving's process abort when oneDNN is on. Open a client after a
fork, never before: gRPC does not survive one (grpc's doc/fork_support.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass, replace
from types import TracebackType
from typing import Any, Final, Self

import grpc
import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.contract import (
    CARD_OUTPUT,
    CLASSES_INPUT,
    CLASSES_OUTPUT,
    DESCRIBE_SIGNATURE,
    EXPLAIN_SIGNATURE,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    MAX_BATCH_SIZE,
    MAX_MESSAGE_BYTES,
    PROBABILITIES_OUTPUT,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
)
from models.errors import MissingSignatureError, ModelContractError, NotFoundError
from models.images import Pixels
from models.wire import messages
from models.wire.explanations import Explanation, check_classes, check_explanation
from models.wire.observer import CallObserver, observed_call
from models.wire.status import translate
from models.wire.tensors import from_tensor, to_tensor

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC's default grows to two minutes: a restarted server would not be noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)
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
    """One channel to a model server; thread-safe; a context manager."""

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        observer: CallObserver | None = None,
    ) -> None:
        """Open a channel to *target* ("host:port"); the first call connects.

        *observer* is told of every call.
        """
        self.target = target
        self._timeout = timeout_seconds
        self._observer = observer
        self._channel = grpc.insecure_channel(target, options=list(CHANNEL_OPTIONS))
        self._predictions = messages.prediction_service.PredictionServiceStub(
            self._channel
        )
        self._models = messages.model_service.ModelServiceStub(self._channel)

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
        self, batch: Pixels, model: ModelRef, timeout_seconds: float | None = None
    ) -> Prediction:
        """Probabilities and logits for a *batch*, uint8 [N, H, W, 3], N >= 1.

        More than 32 images are sent in several calls, all answered by one version and
        within one timeout.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, deadline passed).
            ModelContractError: the server or the answer is not what it should be.
        """
        _check_batch(batch)
        deadline = time.monotonic() + (timeout_seconds or self._timeout)
        parts: list[Prediction] = []
        for start in range(0, len(batch), MAX_BATCH_SIZE):
            part = batch[start : start + MAX_BATCH_SIZE]
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
        _check_batch(batch)
        check_classes(classes, len(batch))
        inputs = {IMAGES_INPUT: to_tensor(batch), CLASSES_INPUT: to_tensor(classes)}
        try:
            response = self._call_predict(
                model, EXPLAIN_SIGNATURE, inputs, timeout_seconds
            )
        except MissingSignatureError as error:
            message = f"{model} cannot explain itself: export it again"
            raise MissingSignatureError(message, code="not_implemented") from error
        explanation = Explanation(
            heatmaps=_output(response, HEATMAPS_OUTPUT),
            probabilities=_output(response, PROBABILITIES_OUTPUT),
            logits=_output(response, LOGITS_OUTPUT),
            classes=_output(response, CLASSES_OUTPUT),
            version=_effective_version(response),
        )
        _check_answer(explanation.probabilities, explanation.logits, len(batch), model)
        check_explanation(explanation, classes)
        return explanation

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """The card of the version that serves *model* now.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        inputs = {REQUEST_INPUT: to_tensor(np.zeros(1, dtype=np.int32))}
        response = self._call_predict(
            model, DESCRIBE_SIGNATURE, inputs, timeout_seconds
        )
        text = _output(response, CARD_OUTPUT)
        if text.shape != (1,):
            raise ModelContractError(f"{model} describes itself {text.shape} times")
        card = ModelCard.from_json(text[0])
        # The directory's number is the version; a copied SavedModel may say another.
        return replace(card, name=model.name, version=_effective_version(response))

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """All versions of a model that the server knows, newest first.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        request = messages.GetModelStatusRequest()
        request.model_spec.name = name
        response = self._call(
            self._models.GetModelStatus, request, ModelRef(name), timeout_seconds
        )
        states = messages.ModelVersionStatus.State
        statuses = [
            VersionStatus(
                int(each.version), states.Name(each.state), each.status.error_message
            )
            for each in response.model_version_status
        ]
        return sorted(statuses, key=lambda each: -each.version)

    def _predict_once(
        self, batch: Pixels, model: ModelRef, timeout_seconds: float | None
    ) -> Prediction:
        inputs = {IMAGES_INPUT: to_tensor(batch)}
        response = self._call_predict(model, SERVING_SIGNATURE, inputs, timeout_seconds)
        probabilities = _output(response, PROBABILITIES_OUTPUT)
        logits = _output(response, LOGITS_OUTPUT)
        _check_answer(probabilities, logits, len(batch), model)
        return Prediction(probabilities, logits, _effective_version(response))

    def _call_predict(
        self,
        model: ModelRef,
        signature: str,
        inputs: dict[str, Any],
        timeout_seconds: float | None,
    ) -> Any:
        request = messages.PredictRequest(inputs=inputs)
        request.model_spec.name = model.name
        request.model_spec.signature_name = signature
        if model.version is not None:
            request.model_spec.version.value = model.version
        elif model.label is not None:
            request.model_spec.version_label = model.label
        return self._call(self._predictions.Predict, request, model, timeout_seconds)

    def _call(
        self,
        method: Callable[..., Any],
        request: Any,
        model: ModelRef,
        timeout_seconds: float | None,
    ) -> Any:
        timeout = timeout_seconds or self._timeout
        try:
            if self._observer is None:
                return method(request, timeout=timeout)
            return observed_call(self._observer, method, request, timeout)
        except grpc.RpcError as error:
            translated = translate(error, self.target)
            if isinstance(translated, NotFoundError):
                raise _not_found(translated, model) from error
            raise translated from error


def _check_batch(batch: Pixels) -> None:
    if batch.dtype != np.uint8 or batch.ndim != 4 or batch.shape[3] != 3:
        message = f"a batch is uint8 [N, H, W, 3], not {batch.dtype} {batch.shape}"
        raise ModelContractError(message)
    if len(batch) == 0:
        raise ModelContractError("a batch holds at least one image")


def _check_answer(
    probabilities: NDArray[Any], logits: NDArray[Any], count: int, model: ModelRef
) -> None:
    if probabilities.ndim != 2 or len(probabilities) != count:
        message = f"{model} answered {probabilities.shape} for {count} images"
        raise ModelContractError(message)
    if probabilities.shape != logits.shape:
        message = f"{model}: logits {logits.shape}, probabilities {probabilities.shape}"
        raise ModelContractError(message)
    if not np.isfinite(probabilities).all():
        raise ModelContractError(f"{model} answered probabilities that are not finite")
    if probabilities.min() < 0 or probabilities.max() > 1 + 1e-6:
        raise ModelContractError(f"{model} answered values outside 0 to 1")


def _output(response: Any, name: str) -> NDArray[Any]:
    if name not in response.outputs:
        present = ", ".join(sorted(response.outputs)) or "nothing"
        message = f"the answer lacks {name!r} (it holds {present}): export with kennel"
        raise ModelContractError(message)
    return from_tensor(response.outputs[name])


def _effective_version(response: Any) -> int:
    return int(response.model_spec.version.value)


def _joined(parts: list[Prediction]) -> Prediction:
    return Prediction(
        np.concatenate([part.probabilities for part in parts]),
        np.concatenate([part.logits for part in parts]),
        parts[0].version,
    )


def _not_found(error: NotFoundError, model: ModelRef) -> NotFoundError:
    remedy = "GET /v1/models lists what is served"
    if model.version is not None:
        code = "version_not_found"
    elif model.label is not None:
        code = "label_not_found"
    else:
        code = "model_not_found"
    return NotFoundError(f"model {model} is not served: {remedy}", code=code)

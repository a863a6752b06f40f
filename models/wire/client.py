"""From pixels to probabilities: the client of TensorFlow Serving's gRPC API.

Every call has a deadline. Pixels are checked before they leave: a tensor of the wrong
rank makes TensorFlow Serving's process abort when oneDNN is on. Open a client after a
fork, never before.
"""

from __future__ import annotations

import time
from types import TracebackType
from typing import Any, Final, Self

import numpy as np
from numpy.typing import NDArray

from models.card import ModelCard
from models.contract import (
    CLASSES_INPUT,
    DESCRIBE_SIGNATURE,
    EXPLAIN_SIGNATURE,
    IMAGES_INPUT,
    MAX_BATCH_SIZE,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
)
from models.errors import MissingSignatureError, ModelTimeoutError, NotFoundError
from models.images import Pixels
from models.wire import messages
from models.wire.answers import read_card
from models.wire.channel import Channel, Interruption
from models.wire.explanations import Explanation, check_classes, read_explanation
from models.wire.model_ref import ModelRef, model_spec, not_served
from models.wire.observer import CallObserver, Subject
from models.wire.predictions import Prediction, join_predictions, read_prediction
from models.wire.requests import (
    Images,
    check_images,
    images_request,
    inputs_request,
)
from models.wire.tensors import to_tensor
from models.wire.version_status import VersionStatus, read_statuses

DEFAULT_TIMEOUT_SECONDS: Final = 10.0


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
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float | None = None,
        interruption: Interruption | None = None,
    ) -> Prediction:
        """Probabilities and logits for *images*, uint8 RGB of one size, at least one.

        More than 32 images (or than *interruption* says, which may also break the calls
        off) are sent in several calls, all answered by one version and within one
        timeout: a call that is not likely to end in time is not made.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, deadline passed).
            ModelContractError: the server or the answer is not what it should be.
        """
        began = time.monotonic()
        deadline = began + (timeout_seconds or self._timeout)
        most = MAX_BATCH_SIZE if interruption is None else interruption.images_at_once
        parts: list[Prediction] = []
        for start in range(0, max(len(images), 1), most):
            part = images[start : start + most]
            now = time.monotonic()
            if start and now + (now - began) * len(part) / start > deadline:
                message = (
                    f"{start} of {len(images)} images were answered, the rest would "
                    "not be in time: send fewer images, or allow more time"
                )
                raise ModelTimeoutError(message)
            left = max(deadline - now, 0.001)
            parts.append(self._predict_once(part, model, left, interruption))
            model = ModelRef(model.name, version=parts[0].version)
        return join_predictions(parts)

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        interruption: Interruption | None = None,
    ) -> Explanation:
        """Where in each image of a *batch* of up to 32 the *classes* [N] are seen.

        A class of -1 stands for the image's most probable one. *interruption* may break
        the call off.

        Raises:
            MissingSignatureError: the version explains nothing.
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        check_images(batch)
        check_classes(classes, len(batch))
        inputs = {IMAGES_INPUT: to_tensor(batch), CLASSES_INPUT: to_tensor(classes)}
        request = inputs_request(model_spec(model, EXPLAIN_SIGNATURE), inputs)
        try:
            subject = Subject("Predict", model.name, len(batch))
            response = self._predict(
                request, model, subject, timeout_seconds, interruption
            )
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
        request = inputs_request(model_spec(model, DESCRIBE_SIGNATURE), inputs)
        subject = Subject("Predict", model.name)
        response = self._predict(request, model, subject, timeout_seconds)
        return read_card(response, model)

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
            raise not_served(ModelRef(name)) from error
        return read_statuses(response)

    def _predict_once(
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float,
        interruption: Interruption | None,
    ) -> Prediction:
        request = images_request(model_spec(model, SERVING_SIGNATURE), images)
        subject = Subject("Predict", model.name, len(images))
        response = self._predict(request, model, subject, timeout_seconds, interruption)
        return read_prediction(response, len(images), model)

    def _predict(
        self,
        request: bytes,
        model: ModelRef,
        subject: Subject,
        timeout_seconds: float | None,
        interruption: Interruption | None = None,
    ) -> Any:
        timeout = timeout_seconds or self._timeout
        try:
            return self._channel.predict(request, subject, timeout, interruption)
        except NotFoundError as error:
            raise not_served(model) from error

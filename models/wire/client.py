"""The client of a model server: pixels to probabilities over TensorFlow Serving's gRPC API.

Every call has a deadline. Pixels are checked before they leave: a tensor of the wrong
rank makes TensorFlow Serving's process abort when oneDNN is on. Open a client after a
fork, never before: gRPC does not survive one (grpc's doc/fork_support.md).

gRPC spreads calls over the servers behind one address and retries those that failed.
It takes the servers from the name's addresses and resolves the name again whenever a
connection ends; a server that is added later is found when an old one closes a connection,
which TensorFlow Serving does with ``--grpc_channel_arguments=grpc.max_connection_age_ms=...``.

gRPC's status codes become our errors here and nowhere else.
"""

from __future__ import annotations

import json
import re
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol, Self, TypeAlias

import grpc
import numpy as np
from numpy.typing import NDArray

from models.contract import (
    CLASSES_INPUT,
    DESCRIBE_SIGNATURE,
    EXPLAIN_SIGNATURE,
    IMAGES_INPUT,
    MAX_BATCH_SIZE,
    MAX_MESSAGE_BYTES,
    REQUEST_INPUT,
    SERVING_SIGNATURE,
    ModelCard,
)
from models.environment import parse_model_address
from models.errors import (
    KennelError,
    MissingSignatureError,
    MixedBatchError,
    ModelContractError,
    ModelOverloadedError,
    ModelTimeoutError,
    ModelUnavailableError,
    NotFoundError,
)
from models.images.codec import Pixels
from models.wire import protos
from models.wire.messages import (
    Explanation,
    Images,
    ModelRef,
    Prediction,
    VersionStatus,
    check_classes,
    check_images,
    images_request,
    inputs_request,
    join_predictions,
    model_spec,
    not_served,
    read_card,
    read_explanation,
    read_prediction,
    read_statuses,
    to_tensor,
)

DEFAULT_TIMEOUT_SECONDS: Final = 10.0

SERVERS_TRIED: Final = 8
"""While a version is rolled out, some servers have it and others do not yet. With two,
each in turn or at random, one in 256 calls still misses the one that has it."""

_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"


class ModelServerClient:
    """One channel to one model server or several; thread-safe; a context manager."""

    def __init__(
        self,
        target: str,
        *,
        timeout_seconds: float = DEFAULT_TIMEOUT_SECONDS,
        observer: CallObserver | None = None,
    ) -> None:
        """Open a channel to *target*; the first call connects.

        *observer* sees every call.

        Raises:
            InvalidRequestError: *target* is no address (`parse_model_address`).
        """
        address = parse_model_address(target)
        self._target = target
        self._timeout = timeout_seconds
        self._observer = observer
        self._servers_tried = SERVERS_TRIED if address.may_be_several else 1
        self._channel = grpc.insecure_channel(
            address.target, options=list(CHANNEL_OPTIONS)
        )
        # Not the generated stub: requests come as bytes (see `images_request`).
        self._predict: Any = self._channel.unary_unary(
            _PREDICT, response_deserializer=protos.PredictResponse.FromString
        )
        self._models = protos.model_service.ModelServiceStub(self._channel)

    def __enter__(self) -> Self:
        """The client itself."""
        return self

    def __exit__(self, *_: object) -> None:
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
        cancellation: Cancellation | None = None,
    ) -> Prediction:
        """Probabilities and logits for *images*, uint8 RGB of one size, at least one.

        More than 32 images (or than *cancellation* says, which can also cancel the calls)
        are sent in several calls, all answered by one version and within one timeout: a
        call that is not likely to end in time is not made.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, deadline passed).
            ModelContractError: the server or its answer breaks the contract.
        """
        began = time.monotonic()
        deadline = began + (timeout_seconds or self._timeout)
        most = MAX_BATCH_SIZE if cancellation is None else cancellation.images_at_once
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
            request = images_request(model_spec(model, SERVING_SIGNATURE), part)
            method = self._cancellable(request, cancellation)
            subject = Subject("Predict", model.name, len(part))
            response = self._call(method, model, subject, max(deadline - now, 0.001))
            parts.append(read_prediction(response, len(part), model))
            model = ModelRef(model.name, version=parts[0].version)
        return join_predictions(parts)

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Explanation:
        """Where in each image of a *batch* of up to 32 the *classes* [N] are seen.

        A class of -1 stands for the image's most probable one. *cancellation* can cancel
        the call.

        Raises:
            MissingSignatureError: the version has no heat maps.
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        check_images(batch)
        check_classes(classes, len(batch))
        inputs = {IMAGES_INPUT: to_tensor(batch), CLASSES_INPUT: to_tensor(classes)}
        request = inputs_request(model_spec(model, EXPLAIN_SIGNATURE), inputs)
        method = self._cancellable(request, cancellation)
        subject = Subject("Predict", model.name, len(batch))
        try:
            response = self._call(method, model, subject, timeout_seconds)
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
        method = partial(self._predict, request)
        subject = Subject("Predict", model.name)
        return read_card(self._call(method, model, subject, timeout_seconds), model)

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """All versions of a model that the server knows, newest first.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        request = protos.GetModelStatusRequest(model_spec=protos.ModelSpec(name=name))
        method = partial(self._models.GetModelStatus, request)
        subject = Subject("GetModelStatus", name)
        return read_statuses(
            self._call(method, ModelRef(name), subject, timeout_seconds)
        )

    def _cancellable(
        self, request: bytes, cancellation: Cancellation | None
    ) -> Callable[..., Any]:
        """The Predict call with *request*, which *cancellation* can cancel."""
        if cancellation is None:
            return partial(self._predict, request)
        return partial(cancellation.run, partial(self._predict.future, request))

    def _call(
        self,
        method: Callable[..., Any],
        model: ModelRef,
        subject: Subject,
        timeout_seconds: float | None,
    ) -> Any:
        """The answer of *method*; if one server lacks *model*, others are tried."""
        deadline = time.monotonic() + (timeout_seconds or self._timeout)
        for _ in range(self._servers_tried - 1):
            with suppress(NotFoundError):
                return self._attempt(method, subject, deadline - time.monotonic())
        try:
            return self._attempt(method, subject, deadline - time.monotonic())
        except NotFoundError as error:
            raise not_served(model) from error

    def _attempt(
        self, method: Callable[..., Any], subject: Subject, timeout_seconds: float
    ) -> Any:
        """The answer of one server, or our error; the observer sees both."""
        options: dict[str, Any] = {"timeout": max(timeout_seconds, 0.001)}  # 0: none
        if self._observer is not None:
            options["metadata"] = self._observer.metadata()
        code, began = "UNKNOWN", time.perf_counter()
        try:
            answer = method(**options)
            code = "OK"
        except grpc.RpcError as error:
            if isinstance(error, grpc.Call):
                code = error.code().name
            raise translate_error(error, self._target) from error
        finally:
            if self._observer is not None:
                seconds = time.perf_counter() - began
                self._observer.ended(UpstreamCall(subject, code, seconds))
        return answer


class ModelServer(Protocol):
    """The interface of `ModelServerClient`, its errors included."""

    def predict(
        self,
        images: Images,
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Prediction:
        """Probabilities and logits for *images*."""

    def explain(
        self,
        batch: Pixels,
        classes: NDArray[np.int32],
        model: ModelRef,
        timeout_seconds: float | None = None,
        cancellation: Cancellation | None = None,
    ) -> Explanation:
        """Where in each image of a *batch* the *classes* are seen."""

    def describe(
        self, model: ModelRef, timeout_seconds: float | None = None
    ) -> ModelCard:
        """The card of the version that serves *model* now."""

    def versions(
        self, name: str, timeout_seconds: float | None = None
    ) -> list[VersionStatus]:
        """All versions of a model that the server knows, newest first."""


class Cancellation:
    """Cancels the calls that are made with it, from another thread; thread-safe.

    Attributes:
        images_at_once: more images are sent in several calls, so that those not sent yet
            need not be sent.
    """

    def __init__(self, images_at_once: int = MAX_BATCH_SIZE) -> None:
        """Calls of up to *images_at_once* images, not cancelled yet."""
        self.images_at_once = images_at_once
        self._lock = threading.Lock()
        self._call: Any = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """Cancel the call in flight, and those that have not begun."""
        with self._lock:
            self._is_cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def run(self, begin: Callable[..., Any], **options: Any) -> Any:
        """The answer of the call that *begin* begins.

        Raises:
            grpc.RpcError: the call failed, or was cancelled meanwhile.
            ModelUnavailableError: the call was cancelled before it began.
        """
        with self._lock:
            if self._is_cancelled:
                raise ModelUnavailableError("the call was cancelled before it began")
            call = self._call = begin(**options)
        try:
            failure = call.exception()
        except grpc.FutureCancelledError:
            failure = call
        self._call = None
        try:
            if failure is not None:
                raise failure
            return call.result()
        finally:
            # The call is its own error: a frame that kept it would be a cycle, and keep
            # the images in memory.
            del call, failure


Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""gRPC's name for headers: lower case names, ASCII values."""


@dataclass(frozen=True)
class Subject:
    """The subject of a call: method, model and number of images.

    Attributes:
        method: Predict or GetModelStatus.
        model: the model's name in the request.
        images: number of images sent; 0 for calls without images.
    """

    method: str
    model: str
    images: int = 0


@dataclass(frozen=True)
class UpstreamCall:
    """One gRPC call that has ended; *code* is the name of gRPC's status code."""

    subject: Subject
    code: str
    seconds: float


class CallObserver(Protocol):
    """An observer of every call, in the thread that makes it; quick, and never raises."""

    def metadata(self) -> Metadata:
        """gRPC metadata to send with the call that begins now."""

    def ended(self, call: UpstreamCall) -> None:
        """Record a call that has ended."""


CALL_ATTEMPTS: Final = 3
"""Attempts of one call that gRPC itself makes, on the servers in turn."""

_SERVICE_CONFIG: Final[dict[str, Any]] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # Every method: none of them changes anything.
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": CALL_ATTEMPTS,
                # The last try is 0.24 s (by gRPC's jitter) or more after the first one,
                # and a connection is tried again after at most 0.12 s.
                "initialBackoff": "0.1s",
                "maxBackoff": "0.5s",
                "backoffMultiplier": 2,
                # A server that goes away, or whose batching queue is full. Never
                # RESOURCE_EXHAUSTED or a deadline: more calls make those worse.
                "retryableStatusCodes": ["UNAVAILABLE"],
            },
        }
    ],
    # When a server dies, all its calls are retried at once; while a tenth or more of all
    # calls keep failing, none is retried.
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.1},
}

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # Which server is called, and which calls are tried again.
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # Larger calls are never tried again, and gRPC's default is two images.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # gRPC's default is half a minute: too long to find a server that replaced another.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A machine that vanishes closes no connection: calls that it does not acknowledge for
    # this long end as unavailable (TCP_USER_TIMEOUT, which comes with keepalive).
    ("grpc.keepalive_timeout_ms", 5000),
    # TensorFlow Serving closes connections with more frequent pings (grpc's
    # doc/keepalive.md).
    ("grpc.keepalive_time_ms", 300_000),
    # gRPC's default grows to two minutes: a restarted server would not be noticed. When
    # one process says that it is ready, calls to the others must not fail: they connect
    # again before a call's last try (`_SERVICE_CONFIG`). 100 is gRPC's least.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)


_Code = grpc.StatusCode

STATUS_ERRORS: Final[dict[grpc.StatusCode, type[KennelError]]] = {
    _Code.UNAVAILABLE: ModelUnavailableError,
    _Code.CANCELLED: ModelUnavailableError,
    _Code.DEADLINE_EXCEEDED: ModelTimeoutError,
    # The caller did nothing wrong: threads or the batching queue are exhausted.
    _Code.RESOURCE_EXHAUSTED: ModelOverloadedError,
    _Code.NOT_FOUND: NotFoundError,
    _Code.INVALID_ARGUMENT: ModelContractError,
    _Code.FAILED_PRECONDITION: ModelContractError,
    _Code.OUT_OF_RANGE: ModelContractError,
    _Code.ABORTED: ModelContractError,
    _Code.ALREADY_EXISTS: ModelContractError,
    _Code.UNIMPLEMENTED: ModelContractError,
    _Code.UNAUTHENTICATED: ModelContractError,
    _Code.PERMISSION_DENIED: ModelContractError,
    _Code.INTERNAL: ModelContractError,
    _Code.DATA_LOSS: ModelContractError,
    _Code.UNKNOWN: ModelContractError,
}
"""Every code but OK. INVALID_ARGUMENT and the like are our fault, not the photo's: requests
are checked before they are sent."""

_TEXTS: Final[tuple[tuple[grpc.StatusCode, str, type[KennelError]], ...]] = (
    # TensorFlow's batch schedulers say "is full", their low-priority queue "does not
    # have the capacity", older TensorFlow Serving "batching queue".
    (
        _Code.UNAVAILABLE,
        r"queue .*(is full|not have the capacity)|batching queue",
        ModelOverloadedError,
    ),
    # gRPC's own limit: the same message will never pass.
    (_Code.RESOURCE_EXHAUSTED, r"message larger than max", ModelContractError),
    # TensorFlow Serving's batching session, then TensorFlow's batch function (the same
    # words after "ConcatOp : " come from a network's own graph).
    (_Code.FAILED_PRECONDITION, r"tasks have different shapes", MixedBatchError),
    (
        _Code.INVALID_ARGUMENT,
        r"(?<!ConcatOp : )Dimensions of inputs should match",
        MixedBatchError,
    ),
    (_Code.FAILED_PRECONDITION, r"signature", MissingSignatureError),
)
"""Where the code alone is ambiguous, the text decides (any case): the first match."""

_UNREACHABLE: Final = "the model cannot be reached now: try again"
_REFUSED: Final = (
    "the model server refused the request: tell the operator, whose log says why"
)
_VISITORS: Final[dict[type[KennelError], str]] = {
    ModelTimeoutError: "the model did not answer in time: try again",
    ModelOverloadedError: "the model is overloaded: try again",
    MixedBatchError: "the model's image size changed meanwhile: try again",
    ModelUnavailableError: _UNREACHABLE,
    NotFoundError: "the model has no such version: see GET /v1/models",
}
"""Messages for clients of the API: addresses and gRPC's words are for the log."""


def translate_error(error: grpc.RpcError, target: str) -> KennelError:
    """Our error for gRPC's *error* of a call to *target*."""
    if not isinstance(error, grpc.Call):
        message = f"the model server at {target} broke off: {error}"
        return ModelUnavailableError(message, visitor_message=_UNREACHABLE)
    code, details = error.code(), error.details() or ""
    if code is _Code.INVALID_ARGUMENT and "version label" in details:
        message = f"the model server at {target} answered: {details}"
        public = "the model has no version of that label: see GET /v1/models"
        return NotFoundError(message, code="label_not_found", visitor_message=public)
    kind = _kind(code, details)
    return kind(
        _explain(kind, target, details), visitor_message=_VISITORS.get(kind, _REFUSED)
    )


def _kind(code: grpc.StatusCode, details: str) -> type[KennelError]:
    for of_code, text, kind in _TEXTS:
        if code is of_code and re.search(text, details, re.IGNORECASE):
            return kind
    return STATUS_ERRORS[code]


def _explain(kind: type[KennelError], target: str, details: str) -> str:
    server = f"the model server at {target}"
    if kind is ModelTimeoutError:
        return f"{server} did not answer in time: try again"
    if kind is ModelOverloadedError:
        return f"{server} is overloaded: try again ({details})"
    if kind is MixedBatchError:
        return f"{server} put images of two sizes into one batch: try again ({details})"
    if kind is ModelUnavailableError:
        return f"{server} cannot be reached: try again ({details})"
    return f"{server} answered: {details}"

"""The client of a model server: pixels to probabilities over TensorFlow Serving's gRPC API.

Every call has a deadline. Pixels are checked before they leave: a tensor of the wrong
rank makes TensorFlow Serving's process abort when oneDNN is on. Open a client after a
fork, never before: gRPC does not survive one (grpc's doc/fork_support.md).

gRPC spreads calls over the servers behind one address, and tries again those that failed.
It learns the servers from the name's addresses and asks for them again whenever a
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
from time import perf_counter
from types import TracebackType
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
            InvalidRequestError: *target* is no address (`models.environment`).
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
        cancellation: Cancellation | None = None,
    ) -> Prediction:
        """Probabilities and logits for *images*, uint8 RGB of one size, at least one.

        More than 32 images (or than *cancellation* says, which may also break the calls
        off) are sent in several calls, all answered by one version and within one
        timeout: a call that is not likely to end in time is not made.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, deadline passed).
            ModelContractError: the server or the answer is not what it should be.
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
            left = max(deadline - now, 0.001)
            parts.append(self._predict_once(part, model, left, cancellation))
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

        A class of -1 stands for the image's most probable one. *cancellation* may break
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
                request, model, subject, timeout_seconds, cancellation
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
        request = protos.GetModelStatusRequest()
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
        cancellation: Cancellation | None,
    ) -> Prediction:
        request = images_request(model_spec(model, SERVING_SIGNATURE), images)
        subject = Subject("Predict", model.name, len(images))
        response = self._predict(request, model, subject, timeout_seconds, cancellation)
        return read_prediction(response, len(images), model)

    def _predict(
        self,
        request: bytes,
        model: ModelRef,
        subject: Subject,
        timeout_seconds: float | None,
        cancellation: Cancellation | None = None,
    ) -> Any:
        timeout = timeout_seconds or self._timeout
        try:
            return self._channel.predict(request, subject, timeout, cancellation)
        except NotFoundError as error:
            raise not_served(model) from error


class ModelServer(Protocol):
    """The calls of `ModelServerClient`; they raise what it raises."""

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


MAX_ATTEMPTS: Final = 3

_SERVICE_CONFIG: Final[dict[str, Any]] = {
    "loadBalancingConfig": [{"round_robin": {}}],
    "methodConfig": [
        {
            # Every method: none of them changes anything.
            "name": [{}],
            "retryPolicy": {
                "maxAttempts": MAX_ATTEMPTS,
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
    # One server that dies breaks all calls under way, so many are tried again at once;
    # while a tenth or more of all calls fail for long, none is.
    "retryThrottling": {"maxTokens": 200, "tokenRatio": 0.1},
}

BALANCING_OPTIONS: Final = (
    ("grpc.service_config", json.dumps(_SERVICE_CONFIG)),
    # A call that outgrows it is never tried again, and gRPC's default is two images.
    ("grpc.per_rpc_retry_buffer_size", MAX_MESSAGE_BYTES),
    # gRPC's default is half a minute, in which a server's successor is not found.
    ("grpc.dns_min_time_between_resolutions_ms", 1000),
    # A machine that vanishes closes no connection: what it does not acknowledge for
    # this long ends as unavailable (TCP_USER_TIMEOUT, which comes with keepalive).
    ("grpc.keepalive_timeout_ms", 5000),
    # More often, and TensorFlow Serving hangs up (grpc's doc/keepalive.md).
    ("grpc.keepalive_time_ms", 300_000),
)
"""Options of a channel."""


CHANNEL_OPTIONS: Final = (
    *BALANCING_OPTIONS,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC's default grows to two minutes: a restarted server would not be noticed. When
    # one process says that it is ready, calls to the others must not fail: they connect
    # again before a call's last try (`models.wire.client`). 100 is gRPC's least.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)

SERVERS_ASKED: Final = 8
"""While a version is rolled out, some servers have it and others do not yet. With two,
each in turn or at random, one in 256 calls still misses the one that has it."""

_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"


class Cancellation:
    """Lets somebody else break off the calls that are made with it; thread-safe.

    Attributes:
        images_at_once: more are sent in several calls, so that those that are not sent
            yet need not be.
    """

    def __init__(self, images_at_once: int = MAX_BATCH_SIZE) -> None:
        """Calls of so many images; nobody has broken them off yet."""
        self.images_at_once = images_at_once
        self._lock = threading.Lock()
        self._call: Any = None
        self._is_cancelled = False

    def cancel(self) -> None:
        """End the call in flight, and let no other begin."""
        with self._lock:
            self._is_cancelled = True
            call = self._call
        if call is not None:
            call.cancel()

    def run(self, begin: Callable[..., Any], **options: Any) -> Any:
        """The answer of the call that *begin* begins.

        Raises:
            grpc.RpcError: it failed, or was cancelled meanwhile.
            ModelUnavailableError: it was cancelled before.
        """
        with self._lock:
            if self._is_cancelled:
                raise ModelUnavailableError("nobody waits for this answer any more")
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
            # The call is its own error: a frame that kept it would be a cycle, and the
            # images in it would stay in memory.
            del call, failure


class Channel:
    """The calls of one address, be there one model server or several; thread-safe."""

    def __init__(self, target: str, observer: CallObserver | None = None) -> None:
        """Open a channel to *target*; the first call connects.

        *observer* is told of every call.

        Raises:
            InvalidRequestError: *target* is no address (`models.environment`).
        """
        address = parse_model_address(target)
        self.target = target
        self._observer = observer
        self._asked = SERVERS_ASKED if address.may_be_several else 1
        self._channel = grpc.insecure_channel(
            address.target, options=list(CHANNEL_OPTIONS)
        )
        # Not the generated stub: requests come as bytes (see models.wire.messages).
        self._predict: Any = self._channel.unary_unary(
            _PREDICT, response_deserializer=protos.PredictResponse.FromString
        )
        self._models = protos.model_service.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls in flight end as unavailable."""
        self._channel.close()

    def predict(
        self,
        request: bytes,
        subject: Subject,
        timeout_seconds: float,
        cancellation: Cancellation | None = None,
    ) -> Any:
        """The PredictResponse to a PredictRequest about *subject*.

        *cancellation* may break the call off.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as
                `models.wire.client` lists.
        """
        method = partial(self._predict, request)
        if cancellation is not None:
            method = partial(cancellation.run, partial(self._predict.future, request))
        return self._ask(method, subject, timeout_seconds)

    def model_status(self, request: Any, timeout_seconds: float) -> Any:
        """The GetModelStatusResponse to a GetModelStatusRequest.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        subject = Subject("GetModelStatus", request.model_spec.name)
        method = partial(self._models.GetModelStatus, request)
        return self._ask(method, subject, timeout_seconds)

    def _ask(
        self, method: Callable[..., Any], subject: Subject, timeout_seconds: float
    ) -> Any:
        deadline = time.monotonic() + timeout_seconds
        for _ in range(self._asked - 1):
            with suppress(NotFoundError):
                return self._call(method, subject, deadline - time.monotonic())
        return self._call(method, subject, deadline - time.monotonic())

    def _call(
        self, method: Callable[..., Any], subject: Subject, timeout_seconds: float
    ) -> Any:
        # 0 would mean no deadline at all.
        call = partial(method, timeout=max(timeout_seconds, 0.001))
        try:
            if self._observer is None:
                return call()
            return observed_call(self._observer, subject, call)
        except grpc.RpcError as error:
            raise translate_error(error, self.target) from error


Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""gRPC's name for headers: lower case names, ASCII values."""

_OK: Final = "OK"
_UNKNOWN: Final = "UNKNOWN"


@dataclass(frozen=True)
class Subject:
    """What a call is about.

    Attributes:
        method: Predict or GetModelStatus.
        model: the name that is asked for.
        images: in the batch that is sent; 0 for calls that send none.
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
    """Sees the calls in the threads that make them; quick, and never raises."""

    def metadata(self) -> Metadata:
        """What to send along with the call that begins now."""

    def ended(self, call: UpstreamCall) -> None:
        """Take note of a call."""


def observed_call(
    observer: CallObserver, subject: Subject, call: Callable[..., Any]
) -> Any:
    """The answer of *call*, or the error that it raises; both are observed."""
    code, started = _UNKNOWN, perf_counter()
    try:
        answer = call(metadata=observer.metadata())
        code = _OK
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call):
            code = error.code().name
        raise
    finally:
        observer.ended(UpstreamCall(subject, code, perf_counter() - started))
    return answer


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
"""Every code but OK. INVALID_ARGUMENT and its kin are our fault, not the photo's: what
we send was checked before."""

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
"""Where the code alone does not tell, the text does (any case): the first that fits."""

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
"""What visitors read: addresses and gRPC's words are for the log."""


def translate_error(error: grpc.RpcError, target: str) -> KennelError:
    """What *error*, raised by a call to *target*, means to us."""
    if not isinstance(error, grpc.Call):
        message = f"the model server at {target} broke off: {error}"
        return ModelUnavailableError(message, visitor_message=_UNREACHABLE)
    code, details = error.code(), error.details() or ""
    if code is _Code.INVALID_ARGUMENT and "version label" in details:
        message = f"the model server at {target} answered: {details}"
        told = "the model has no version of that label: see GET /v1/models"
        return NotFoundError(message, code="label_not_found", visitor_message=told)
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

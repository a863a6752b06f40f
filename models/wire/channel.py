"""One gRPC channel to the model servers: its calls, with our errors instead of gRPC's.

Open a channel after a fork, never before: gRPC does not survive one (grpc's
doc/fork_support.md).
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc

from models.contract import MAX_BATCH_SIZE, MAX_MESSAGE_BYTES
from models.errors import ModelUnavailableError, NotFoundError
from models.model_address import parse_model_address
from models.wire import messages
from models.wire.balancing import BALANCING_OPTIONS
from models.wire.observer import CallObserver, Subject, observed_call
from models.wire.status import translate

CHANNEL_OPTIONS: Final = (
    *BALANCING_OPTIONS,
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC's default grows to two minutes: a restarted server would not be noticed. When
    # one process says that it is ready, calls to the others must not fail: they connect
    # again before a call's last try (`models.wire.balancing`). 100 is gRPC's least.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 100),
)

SERVERS_ASKED: Final = 8
"""While a version is rolled out, some servers have it and others do not yet. With two,
each in turn or at random, one in 256 calls still misses the one that has it."""

_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"


class Interruption:
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
            InvalidRequestError: *target* is no address (`models.model_address`).
        """
        address = parse_model_address(target)
        self.target = target
        self._observer = observer
        self._asked = SERVERS_ASKED if address.may_be_several else 1
        self._channel = grpc.insecure_channel(
            address.target, options=list(CHANNEL_OPTIONS)
        )
        # Not the generated stub: requests come as bytes (see models.wire.requests).
        self._predict: Any = self._channel.unary_unary(
            _PREDICT, response_deserializer=messages.PredictResponse.FromString
        )
        self._models = messages.model_service.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls in flight end as unavailable."""
        self._channel.close()

    def predict(
        self,
        request: bytes,
        subject: Subject,
        timeout_seconds: float,
        interruption: Interruption | None = None,
    ) -> Any:
        """The PredictResponse to a PredictRequest about *subject*.

        *interruption* may break the call off.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as
                `models.wire.status` lists.
        """
        method = partial(self._predict, request)
        if interruption is not None:
            method = partial(interruption.run, partial(self._predict.future, request))
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
            raise translate(error, self.target) from error

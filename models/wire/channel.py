"""One gRPC channel to the model servers: its calls, with our errors instead of gRPC's.

Open a channel after a fork, never before: gRPC does not survive one (grpc's
doc/fork_support.md).
"""

from __future__ import annotations

import time
from collections.abc import Callable
from contextlib import suppress
from functools import partial
from typing import Any, Final

import grpc

from models.contract import MAX_MESSAGE_BYTES
from models.errors import NotFoundError
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
        self._predict: Callable[..., Any] = self._channel.unary_unary(
            _PREDICT, response_deserializer=messages.PredictResponse.FromString
        )
        self._models = messages.model_service.ModelServiceStub(self._channel)

    def close(self) -> None:
        """Close the channel; calls in flight end as unavailable."""
        self._channel.close()

    def predict(
        self, request: bytes, model: str, images: int, timeout_seconds: float
    ) -> Any:
        """The PredictResponse to a PredictRequest that sends *images* to *model*.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as
                `models.wire.status` lists.
        """
        subject = Subject("Predict", model, images)
        return self._ask(partial(self._predict, request), subject, timeout_seconds)

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

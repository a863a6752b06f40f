"""One gRPC channel to a model server: its calls, with our errors instead of gRPC's.

Open a channel after a fork, never before: gRPC does not survive one (grpc's
doc/fork_support.md).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from typing import Any, Final

import grpc

from models.contract import MAX_MESSAGE_BYTES
from models.wire import messages
from models.wire.observer import CallObserver, Subject, observed_call
from models.wire.status import translate

CHANNEL_OPTIONS: Final = (
    ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
    ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
    # gRPC's default grows to two minutes: a restarted server would not be noticed.
    ("grpc.initial_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 1000),
)

_PREDICT: Final = "/tensorflow.serving.PredictionService/Predict"


class Channel:
    """The calls of one model server; thread-safe."""

    def __init__(self, target: str, observer: CallObserver | None = None) -> None:
        """Open a channel to *target*; the first call connects.

        *observer* is told of every call.
        """
        self.target = target
        self._observer = observer
        self._channel = grpc.insecure_channel(target, options=list(CHANNEL_OPTIONS))
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
        return self._call(self._predict, request, subject, timeout_seconds)

    def model_status(self, request: Any, timeout_seconds: float) -> Any:
        """The GetModelStatusResponse to a GetModelStatusRequest.

        Raises:
            NotFoundError, ModelUnavailableError, ModelContractError: as `predict`.
        """
        subject = Subject("GetModelStatus", request.model_spec.name)
        method = self._models.GetModelStatus
        return self._call(method, request, subject, timeout_seconds)

    def _call(
        self,
        method: Callable[..., Any],
        request: Any,
        subject: Subject,
        timeout_seconds: float,
    ) -> Any:
        call = partial(method, request, timeout=timeout_seconds)
        try:
            if self._observer is None:
                return call()
            return observed_call(self._observer, subject, call)
        except grpc.RpcError as error:
            raise translate(error, self.target) from error

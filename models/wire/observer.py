"""Who wants to know of each call to a model server: metrics, traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

import grpc

from models.contract import IMAGES_INPUT

Metadata: TypeAlias = tuple[tuple[str, str], ...]
"""gRPC's name for headers: lower case names, ASCII values."""

_OK: Final = "OK"
_UNKNOWN: Final = "UNKNOWN"


@dataclass(frozen=True)
class UpstreamCall:
    """One gRPC call that has ended.

    Attributes:
        method: Predict or GetModelStatus.
        model: the name that was asked for.
        code: the name of gRPC's status code.
        images: in the batch that was sent; 0 for calls that send none.
    """

    method: str
    model: str
    code: str
    seconds: float
    images: int


class CallObserver(Protocol):
    """Sees the calls in the threads that make them; quick, and never raises."""

    def metadata(self) -> Metadata:
        """What to send along with the call that begins now."""

    def ended(self, call: UpstreamCall) -> None:
        """Take note of a call."""


def observed_call(
    observer: CallObserver, method: Callable[..., Any], request: Any, timeout: float
) -> Any:
    """The answer to *request*, or the error that *method* raises; both are observed."""
    code, started = _UNKNOWN, perf_counter()
    try:
        answer = method(request, timeout=timeout, metadata=observer.metadata())
        code = _OK
    except grpc.RpcError as error:
        if isinstance(error, grpc.Call):
            code = error.code().name
        raise
    finally:
        seconds = perf_counter() - started
        observer.ended(_ended(request, code, seconds))
    return answer


def _ended(request: Any, code: str, seconds: float) -> UpstreamCall:
    method = type(request).__name__.removesuffix("Request")
    model = request.model_spec.name
    return UpstreamCall(method, model, code, seconds, _images(request))


def _images(request: Any) -> int:
    inputs = getattr(request, "inputs", {})
    if IMAGES_INPUT not in inputs:
        return 0
    return int(inputs[IMAGES_INPUT].tensor_shape.dim[0].size)

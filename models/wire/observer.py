"""Who wants to know of each call to a model server: metrics, traces."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from time import perf_counter
from typing import Any, Final, Protocol, TypeAlias

import grpc

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

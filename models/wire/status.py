"""From gRPC status codes to our errors: the one place where they are translated."""

from __future__ import annotations

import re
from typing import Final

import grpc

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

_Code = grpc.StatusCode

ERRORS: Final[dict[grpc.StatusCode, type[KennelError]]] = {
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


def translate(error: grpc.RpcError, target: str) -> KennelError:
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
    return ERRORS[code]


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

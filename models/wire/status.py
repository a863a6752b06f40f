"""From gRPC status codes to our errors: the one place where they are translated."""

from __future__ import annotations

from typing import Final

import grpc

from models.errors import (
    KennelError,
    MissingSignatureError,
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

_QUEUE_FULL: Final = "batching queue"


def translate(error: grpc.RpcError, target: str) -> KennelError:
    """What *error*, raised by a call to *target*, means to us."""
    if not isinstance(error, grpc.Call):
        return ModelUnavailableError(f"the model server at {target} broke off: {error}")
    code, details = error.code(), error.details() or ""
    if code is _Code.UNAVAILABLE and _QUEUE_FULL in details.lower():
        return ModelOverloadedError(_explain(ModelOverloadedError, target, details))
    if code is _Code.INVALID_ARGUMENT and "version label" in details:
        return NotFoundError(details, code="label_not_found")
    if code is _Code.FAILED_PRECONDITION and "signature" in details.lower():
        return MissingSignatureError(_explain(MissingSignatureError, target, details))
    kind = ERRORS[code]
    return kind(_explain(kind, target, details))


def _explain(kind: type[KennelError], target: str, details: str) -> str:
    if kind is ModelTimeoutError:
        return f"the model server at {target} did not answer in time: try again"
    if kind is ModelOverloadedError:
        return f"the model server at {target} is overloaded: try again ({details})"
    if kind is ModelUnavailableError:
        return f"the model server at {target} cannot be reached: try again ({details})"
    return f"the model server at {target} answered: {details}"

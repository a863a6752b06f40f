"""How a request fails: with the code that a real TensorFlow Serving 2.20 was seen to give."""

from __future__ import annotations

import grpc


class ServingError(Exception):
    """A request that is answered with a gRPC status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Answer with this *code* and *message*."""
        super().__init__(message)
        self.code = code


class NoAnswerError(Exception):
    """A request that gets no answer: it ends when its caller's deadline does."""


def invalid_argument(message: str) -> ServingError:
    """The error of a request that cannot be right."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)

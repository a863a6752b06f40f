"""A served model whose calls wait for permission: what happens meanwhile can be seen."""

from __future__ import annotations

import threading
from typing import Any

import grpc

from models.contract import DESCRIBE_SIGNATURE, IMAGES_INPUT
from tests.service.served_model import ServedModel


class HeldModel(ServedModel):
    """Each call with images needs one of `permits`.

    Attributes:
        asked: calls with images so far, answered or not.
        largest: images that one call may hold, as a server's ``max_batch_size``.
        cancelled: calls that their caller ended before they had a permit.
    """

    def __init__(self, versions: tuple[int, ...] = (1,)) -> None:
        super().__init__(versions)
        self.permits = threading.Semaphore(0)
        self.asked = 0
        self.largest = 32
        self.cancelled = 0

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        if request.model_spec.signature_name != DESCRIBE_SIGNATURE:
            self.asked += 1
            self._wait(context)
            count = request.inputs[IMAGES_INPUT].tensor_shape.dim[0].size
            if count > self.largest:
                message = f"Task size {count} is larger than {self.largest}"
                context.abort(grpc.StatusCode.INVALID_ARGUMENT, message)
        return super().Predict(request, context)

    def _wait(self, context: Any) -> None:
        while not self.permits.acquire(timeout=0.02):
            if not context.is_active():
                self.cancelled += 1
                context.abort(grpc.StatusCode.CANCELLED, "the caller has gone")

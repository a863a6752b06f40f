"""A stricter fake model server: labels, one image size a version, counted calls.

``python -m tests.service.served_model PORT`` is one as a process that can be killed.
"""

from __future__ import annotations

import signal
import sys
import threading
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import grpc
import numpy as np

from models.contract import DESCRIBE_SIGNATURE, IMAGES_INPUT, ModelCard
from models.images.preprocessing import Preprocessing
from models.wire import protos
from tests.fake_model_server import CARD, FakeModelServer


class ServedModel(FakeModelServer):
    """Like TensorFlow Serving, it refuses pixels of another size than its card's.

    Attributes:
        takes_any_size: answer them as well, as networks that pool do: as black.
        sizes: image size by version, where it is not the card's.
        preprocessings: preprocessing by version, where it is not the card's.
        precisions: precision by version, where it is known.
        version_labels: version by label.
        loading: versions that are not available yet.
        waiting: versions that wait for another one to be loaded.
        broken: why versions could not be loaded.
        failing: status code by version that fails to answer for images.
        before_answer: called before each answer for images.
        after_answer: called once, after the next answer for images.
        calls: signature names (or "status") of all calls so far.
        named: the version that each call with images asked for, None for none.
        metadata: what came along with each call for predictions.
        status_seconds: how long the last caller waits for states of versions.
    """

    def __init__(self, versions: tuple[int, ...] = (1,), port: int = 0) -> None:
        super().__init__(CARD, versions, port)
        self.takes_any_size = False
        self.sizes: dict[int, tuple[int, int]] = {}
        self.preprocessings: dict[int, Preprocessing] = {}
        self.precisions: dict[int, str] = {}
        self.version_labels: dict[str, int] = {}
        self.loading: tuple[int, ...] = ()
        self.waiting: tuple[int, ...] = ()
        self.broken: dict[int, str] = {}
        self.failing: dict[int, grpc.StatusCode] = {}
        self.before_answer: Callable[[], object] | None = None
        self.after_answer: Callable[[], None] | None = None
        self.calls: list[str] = []
        self.named: list[int | None] = []
        self.metadata: list[dict[str, str]] = []
        self.status_seconds = 0.0

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        signature = request.model_spec.signature_name
        self.calls.append(signature)
        if signature != DESCRIBE_SIGNATURE:
            spec = request.model_spec
            self.named.append(spec.version.value if spec.HasField("version") else None)
        self.metadata.append(dict(context.invocation_metadata()))
        if self.failure is not None:
            context.abort(self.failure, f"told to fail with {self.failure.name}")
        version = self._version(request.model_spec, context)
        if signature != DESCRIBE_SIGNATURE and version in self.failing:
            context.abort(self.failing[version], "told to fail in this version")
        if signature != DESCRIBE_SIGNATURE and self.before_answer is not None:
            self.before_answer()
        answer = super().Predict(request, context)
        call = self.after_answer
        if signature != DESCRIBE_SIGNATURE and call is not None:
            self.after_answer = None
            call()
        return answer

    def _card(self, version: int) -> ModelCard:
        card = super()._card(version)
        return replace(
            card,
            image_size=self._size(version),
            preprocessing=self.preprocessings.get(version, card.preprocessing),
            precision=self.precisions.get(version, ""),
        )

    def _accept(self, batch: Any, version: int, context: Any) -> Any:
        if batch.shape[1:3] == self._size(version):
            return batch
        if not self.takes_any_size:
            context.abort(grpc.StatusCode.ABORTED, "Incompatible shapes")
        return np.zeros_like(batch)

    def _size(self, version: int) -> tuple[int, int]:
        return self.sizes.get(version, CARD.image_size)

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        self.calls.append("status")
        self.status_seconds = context.time_remaining()
        response = super().GetModelStatus(request, context)
        states = protos.ModelVersionStatus
        add = response.model_version_status.add
        for version in self.loading:
            add(version=version, state=states.LOADING)
        for version in self.waiting:
            add(version=version, state=states.START)
        for version, reason in self.broken.items():
            status = add(version=version, state=states.END).status
            status.error_code, status.error_message = 2, reason
        return response

    def _version(self, spec: Any, context: Any) -> int:
        labelled = self.version_labels.get(spec.version_label)
        if labelled is None:
            return super()._version(spec, context)
        return labelled


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


def main() -> None:
    with FakeModelServer(CARD, port=int(sys.argv[1])):
        signal.pause()


if __name__ == "__main__":
    main()

"""A model server that speaks the real protocol; its "model" is mean brightness.

P(last label) = mean of the pixels / 255, so that a test can tell from a photo what the
right answer is, and a mix-up of photos shows. It can be told to be slow or to fail, and
to merge requests into batches, as TensorFlow Serving does.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Hashable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field, replace
from typing import Any, Self

import grpc
import numpy as np

from models.contract import (
    CARD_OUTPUT,
    CLASSES_INPUT,
    CLASSES_OUTPUT,
    DESCRIBE_SIGNATURE,
    EXPLAIN_SIGNATURE,
    HEATMAPS_OUTPUT,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    MAX_BATCH_SIZE,
    MAX_MESSAGE_BYTES,
    PROBABILITIES_OUTPUT,
    AnswerSpread,
    ModelCard,
)
from models.wire import protos
from models.wire.messages import from_tensor, to_string_tensor, to_tensor

CARD = ModelCard(
    name="pets",
    version=1,
    labels=("cat", "dog"),
    image_size=(32, 32),
    network="mean-brightness",
    recipe="none",
    temperature=1.0,
    clip_bound=0.95,
    clip_choice="fixed",
    validation_spread=AnswerSpread((40, 5, 2, 1, 2, 2, 1, 2, 5, 40), (50, 50)),
)


CELL = 8
"""Pixels to a side of a place in a heat map."""


def brightness_heat(batch: Any) -> Any:
    """Mean brightness of each 8 x 8 pixels; the brightest place of an image is 1."""
    count, height, width, _ = batch.shape
    cells = batch.reshape(count, height // CELL, CELL, width // CELL, CELL * 3)
    heat = cells.mean(axis=(2, 4))
    hottest = np.maximum(heat.max(axis=(1, 2), keepdims=True), 1e-9)
    return (heat / hottest).astype(np.float32)


def brightness_probabilities(batch: Any, classes: int) -> Any:
    bright = batch.reshape(len(batch), -1).mean(axis=1) / 255
    rest = np.repeat(((1 - bright) / (classes - 1))[:, None], classes - 1, axis=1)
    return np.concatenate([rest, bright[:, None]], axis=1).astype(np.float32)


DIFFERENT_SHAPES = (
    "Tensors with name 'serving_default_images:0' from different tasks have different "
    "shapes and padding is turned off.Set pad_variable_length_inputs to true, or ensure "
    "that all tensors with the same namehave equal dimensions starting with the first "
    "dim."
)
"""What TensorFlow Serving 2.20 says of a batch of images of two sizes, to all in it."""

QUEUE_FULL = (
    "The batch scheduling queue to which this task was submitted is full; task size is "
    "32 but scheduling capacity is only 0 (num_enqueued_batches=1, "
    "max_enqueued_batches=1, open_batch_size=32, max_execution_batch_size=32)"
)
"""What TensorFlow's batching says when ``max_enqueued_batches`` are waiting."""


@dataclass
class _Batch:
    shapes: list[tuple[int, ...]] = field(default_factory=list)
    closed: threading.Event = field(default_factory=threading.Event)


class Merging:
    """Requests of one key share a batch, which goes when it has *requests* or is old.

    A request of 32 images is a batch by itself.

    Attributes:
        mixed: batches that failed because they had images of two sizes.
    """

    def __init__(self, requests: int, seconds: float = 0.01) -> None:
        self.mixed = 0
        self._requests = requests
        self._seconds = seconds
        self._lock = threading.Lock()
        self._open: dict[Hashable, _Batch] = {}

    def is_mixed(self, key: Hashable, images: Any) -> bool:
        """Whether the batch that *images* came into holds images of other sizes."""
        if len(images) == MAX_BATCH_SIZE:
            return False
        with self._lock:
            batch = self._open.setdefault(key, _Batch())
            batch.shapes.append(images.shape[1:])
            if len(batch.shapes) == self._requests:
                self._close(key, batch)
        if not batch.closed.wait(self._seconds):
            with self._lock:
                if not batch.closed.is_set():
                    self._close(key, batch)
        return len(set(batch.shapes)) > 1

    def _close(self, key: Hashable, batch: _Batch) -> None:
        del self._open[key]
        self.mixed += len(set(batch.shapes)) > 1
        batch.closed.set()


class FakeModelServer(
    protos.prediction_service.PredictionServiceServicer,  # type: ignore[misc]
    protos.model_service.ModelServiceServicer,  # type: ignore[misc]
):
    """Serves ``card`` under its name, in the given versions, on a loopback port.

    Attributes:
        failure: answer every Predict with this status code; None: answer properly.
        refusals: code and text of each of the next calls with images; then properly.
        merging: merge requests of a version into batches; None: each by itself.
        delay_seconds: wait this long before each Predict of images.
        batches: sizes of the batches answered so far.
        explains: whether there is a signature for explanations.

    Connections end after about ``max_connection_seconds``; None: never.
    """

    def __init__(
        self,
        card: ModelCard = CARD,
        versions: tuple[int, ...] = (1,),
        port: int = 0,
        host: str = "127.0.0.1",
        max_connection_seconds: float | None = None,
    ) -> None:
        self.host = host
        self._age = max_connection_seconds
        self.card = card
        self.versions = versions
        self.failure: grpc.StatusCode | None = None
        self.refusals: deque[tuple[grpc.StatusCode, str]] = deque()
        self.merging: Merging | None = None
        self.delay_seconds = 0.0
        self.batches: list[int] = []
        self.explains = True
        self._lock = threading.Lock()
        self.port = port
        self._server: Any = None

    @property
    def target(self) -> str:
        return f"{self.host}:{self.port}"

    def start(self) -> None:
        options = [
            ("grpc.max_receive_message_length", MAX_MESSAGE_BYTES),
            ("grpc.max_send_message_length", MAX_MESSAGE_BYTES),
            ("grpc.so_reuseport", 0),
        ]
        if self._age is not None:
            options.append(("grpc.max_connection_age_ms", round(self._age * 1000)))
        self._server = grpc.server(ThreadPoolExecutor(16), options=options)
        protos.prediction_service.add_PredictionServiceServicer_to_server(
            self, self._server
        )
        protos.model_service.add_ModelServiceServicer_to_server(self, self._server)
        self.port = self._server.add_insecure_port(self.target)
        self._server.start()

    def stop(self) -> None:
        self._server.stop(grace=0).wait()

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.failure is not None:
            context.abort(self.failure, f"told to fail with {self.failure.name}")
        version = self._version(request.model_spec, context)
        response = protos.PredictResponse()
        response.model_spec.name = request.model_spec.name
        response.model_spec.version.value = version
        if request.model_spec.signature_name == DESCRIBE_SIGNATURE:
            card = self._card(version).to_json().encode()
            response.outputs[CARD_OUTPUT].CopyFrom(to_string_tensor([card]))
            return response
        batch = from_tensor(request.inputs[IMAGES_INPUT])
        if self.refusals:
            context.abort(*self.refusals.popleft())
        key = (version, request.model_spec.signature_name)
        if self.merging and self.merging.is_mixed(key, batch):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, DIFFERENT_SHAPES)
        batch = self._accept(batch, version, context)
        self._answer(batch, response)
        if request.model_spec.signature_name == EXPLAIN_SIGNATURE:
            self._explain(batch, request, response, context)
        return response

    def _card(self, version: int) -> ModelCard:
        return replace(self.card, version=version)

    def _accept(self, batch: Any, _version: int, _context: Any) -> Any:
        """What is answered for *batch*, if it is not refused."""
        return batch

    def _explain(self, batch: Any, request: Any, response: Any, context: Any) -> None:
        if not self.explains:
            message = 'Serving signature key "explain" not found.'
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, message)
        asked = from_tensor(request.inputs[CLASSES_INPUT])
        best = from_tensor(response.outputs[PROBABILITIES_OUTPUT]).argmax(axis=1)
        classes = np.where(asked < 0, best, asked).astype(np.int32)
        response.outputs[CLASSES_OUTPUT].CopyFrom(to_tensor(classes))
        response.outputs[HEATMAPS_OUTPUT].CopyFrom(to_tensor(brightness_heat(batch)))

    def _answer(self, batch: Any, response: Any) -> None:
        time.sleep(self.delay_seconds)
        with self._lock:
            self.batches.append(len(batch))
        probabilities = brightness_probabilities(batch, len(self.card.labels))
        logits = np.log(np.maximum(probabilities, 1e-9))
        response.outputs[PROBABILITIES_OUTPUT].CopyFrom(to_tensor(probabilities))
        response.outputs[LOGITS_OUTPUT].CopyFrom(to_tensor(logits))

    def _version(self, spec: Any, context: Any) -> int:
        if spec.version_label:
            context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                f"Unrecognized servable version label: {spec.version_label}",
            )
        wanted = int(spec.version.value) if spec.HasField("version") else None
        known = spec.name == self.card.name and self.versions
        if not known or (wanted is not None and wanted not in self.versions):
            context.abort(
                grpc.StatusCode.NOT_FOUND, f"Servable not found for request: {spec}"
            )
        return wanted or max(self.versions)

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        if self.failure is not None:
            context.abort(self.failure, f"told to fail with {self.failure.name}")
        if request.model_spec.name != self.card.name:
            name = request.model_spec.name
            context.abort(
                grpc.StatusCode.NOT_FOUND,
                f"Could not find any versions of model {name}",
            )
        response = protos.GetModelStatusResponse()
        for version in self.versions:
            response.model_version_status.add(
                version=version, state=protos.ModelVersionStatus.AVAILABLE
            )
        return response

"""Batching parameters as TensorFlow Serving's file states them, with its own checks."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.wire.serving_messages import BatchingParametersMessage

PER_MODEL_FILE: Final = "batching_params.pbtxt"
"""Read in each version's folder with ``--enable_per_model_batching_parameters``. A version
without it is not batched at all then (GetPerModelBatchingParams in bundle_factory_util.cc).
"""


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are gathered (tensorflow/serving, batching guide).

    Attributes:
        max_batch_size: images in one request; a larger one is refused.
        num_batch_threads: batches that run at once; one keeps all cores on one batch.
        batch_timeout_micros: how long an incomplete batch waits; 0 sends it as soon as
            a thread is free, so an idle server adds no delay.
        max_enqueued_batches: batches that wait; beyond them requests are refused.
        allowed_batch_sizes: batches are padded up to these; empty means never, which
            is best on a CPU, where padding is pure cost.
        enable_large_batch_splitting: a request may be computed in parts.
        max_execution_batch_size: images in one part; 0: *max_batch_size*.
    """

    max_batch_size: int = MAX_BATCH_SIZE
    batch_timeout_micros: int = 0
    num_batch_threads: int = 1
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    enable_large_batch_splitting: bool = False
    max_execution_batch_size: int = 0

    @property
    def computed_at_once(self) -> int:
        """The largest batch that the model ever sees."""
        if self.enable_large_batch_splitting and self.max_execution_batch_size:
            return self.max_execution_batch_size
        return self.max_batch_size

    def check(self, where: str) -> None:
        """Return if TensorFlow Serving would take them.

        Raises:
            InvalidRequestError: it would not; *where* begins the message.
        """
        for reason in self._refusals():
            raise InvalidRequestError(f"{where}: {reason}")

    def _refusals(self) -> Iterator[str]:
        # shared_batch_scheduler.h, Create and AddQueue; batching_session.cc, Create.
        if self.max_batch_size < 1 or self.num_batch_threads < 1:
            yield "max_batch_size and num_batch_threads must be at least 1"
        if self.batch_timeout_micros < 0 or self.max_enqueued_batches < 0:
            yield "batch_timeout_micros and max_enqueued_batches must not be negative"
        at_once = self.computed_at_once
        if not 1 <= at_once <= self.max_batch_size:
            yield (
                f"max_execution_batch_size {at_once} must be from 1 to "
                f"max_batch_size, {self.max_batch_size}"
            )
        sizes = self.allowed_batch_sizes
        if list(sizes) != sorted(set(sizes)):
            yield f"allowed_batch_sizes {sizes} must increase"
        if sizes and sizes[-1] != at_once:
            yield f"the last of allowed_batch_sizes {sizes} must be {at_once}"


def read_batching_parameters(path: Path) -> BatchingParameters:
    """The parameters in a ``--batching_parameters_file``.

    Raises:
        InvalidRequestError: it cannot be read, or states what cannot be.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        message = f"batching parameters file {path} cannot be read: {error}"
        raise InvalidRequestError(message) from error
    return parse_batching_parameters(text, f"batching parameters file {path}")


def parse_batching_parameters(text: str, where: str) -> BatchingParameters:
    """The parameters that *text* states; *where* begins an error's message.

    Raises:
        InvalidRequestError: it is no such text, or states what cannot be.
    """
    try:
        message = text_format.Parse(text, BatchingParametersMessage())
    except text_format.ParseError as error:
        raise InvalidRequestError(f"{where}: {error}") from error
    parameters = BatchingParameters(
        allowed_batch_sizes=tuple(message.allowed_batch_sizes)
    )
    known = {field.name for field in fields(BatchingParameters)}
    for field, value in message.ListFields():
        if field.name in known and field.message_type is not None:
            wrapped: dict[str, Any] = {field.name: value.value}
            parameters = replace(parameters, **wrapped)
    parameters.check(where)
    return parameters

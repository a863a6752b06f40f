"""Batching parameters as TensorFlow Serving's file states them, with its own checks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any, Final

from google.protobuf import text_format

from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.processors import usable_processors
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
            is best on a CPU, where padding is pure cost. The last is *max_batch_size*.
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
        """Return if TensorFlow Serving would load a version with them.

        Raises:
            InvalidRequestError: it would not; *where* begins the message.
        """
        for reason in self._refusals():
            raise InvalidRequestError(f"{where}: {reason}")

    def _refusals(self) -> Iterator[str]:
        # shared_batch_scheduler.h, Create and AddQueue.
        for name in ("max_batch_size", "num_batch_threads", "max_enqueued_batches"):
            if getattr(self, name) < 1:
                yield f"{name} {getattr(self, name)} must be at least 1"
        if self.batch_timeout_micros < 0:
            yield (
                f"batch_timeout_micros {self.batch_timeout_micros} must not be "
                "negative; 0 sends a batch as soon as a thread is free"
            )
        if not 1 <= self.computed_at_once <= self.max_batch_size:
            yield (
                f"max_execution_batch_size {self.computed_at_once} must be from 1 to "
                f"max_batch_size, {self.max_batch_size}"
            )
        yield from self._padding_refusals()

    def _padding_refusals(self) -> Iterator[str]:
        sizes = self.allowed_batch_sizes
        if not sizes:
            return
        listed = ", ".join(map(str, sizes))
        if sizes[0] < 1 or list(sizes) != sorted(set(sizes)):
            yield f"allowed_batch_sizes {listed} must increase, from 1 on"
        if sizes[-1] != self.max_batch_size:
            # WrapSessionForBatching in bundle_factory_util.cc: also if calls are split.
            larger = sizes[-1] > self.max_batch_size
            remedy = "end with" if larger else "append"
            yield (
                f"the last of allowed_batch_sizes {listed} must be max_batch_size, "
                f"{self.max_batch_size}, also if calls are split: {remedy} "
                f"{self.max_batch_size}, or make max_batch_size {sizes[-1]}"
            )


def serving_defaults() -> BatchingParameters:
    """What TensorFlow Serving takes where a file states nothing."""
    # shared_batch_scheduler.h
    return BatchingParameters(
        max_batch_size=1000,
        num_batch_threads=usable_processors(),
        max_enqueued_batches=10,
    )


def check_batching_flags(enable_batching: bool, parameters_file: Path | None) -> None:
    """Return if TensorFlow Serving starts with these two of its flags.

    Raises:
        InvalidRequestError: it would not.
    """
    if parameters_file is not None and not enable_batching:
        # server.cc, BuildAndStart
        message = (
            f"--batching_parameters_file={parameters_file} needs "
            "--enable_batching=true beside it"
        )
        raise InvalidRequestError(message)


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
    stated = {field.name: value for field, value in message.ListFields()}
    parameters = serving_defaults()
    for field in fields(BatchingParameters):
        if field.name in stated:
            wrapped: dict[str, Any] = {field.name: _value(stated[field.name])}
            parameters = replace(parameters, **wrapped)
    _check_splitting(parameters, stated, where)
    parameters.check(where)
    return parameters


def _value(value: Any) -> Any:
    return value.value if hasattr(value, "value") else tuple(value)


def _check_splitting(
    parameters: BatchingParameters, stated: Mapping[str, Any], where: str
) -> None:
    # GetQueueOptions in bundle_factory_util.h takes what is not stated for 0.
    if not parameters.enable_large_batch_splitting:
        return
    executed = parameters.max_execution_batch_size
    if "max_execution_batch_size" in stated and executed < 1:
        message = f"max_execution_batch_size {executed} must be at least 1"
        raise InvalidRequestError(f"{where}: {message}")
    if not {"max_execution_batch_size", "max_batch_size"} & set(stated):
        message = (
            "enable_large_batch_splitting without sizes computes parts of no image: "
            "state max_batch_size and max_execution_batch_size"
        )
        raise InvalidRequestError(f"{where}: {message}")

"""Batching parameters, as TensorFlow Serving's file states them, and their kernel.

Nothing is batched in Python: TensorFlow's own batching kernel gathers requests.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final

import tensorflow as tf

from models.errors import InvalidRequestError

_FIELD: Final = re.compile(r"(\w+)\s*(?::\s*(\w+)|\{\s*value\s*:\s*(\w+)\s*\})")
_COMMENT: Final = re.compile(r"#[^\n]*")
_IGNORED: Final = frozenset({"thread_pool_name", "pad_variable_length_inputs"})


@dataclass(frozen=True)
class BatchingParameters:
    """How requests are gathered (tensorflow/serving, batching guide).

    Attributes:
        num_batch_threads: batches that run at once; one keeps all cores on one batch.
        batch_timeout_micros: how long an incomplete batch waits; 0 sends it as soon as
            a thread is free, so an idle server adds no delay.
        allowed_batch_sizes: batches are padded up to these; empty means never, which
            is best on a CPU, where padding is pure cost.
    """

    max_batch_size: int = 32
    batch_timeout_micros: int = 0
    num_batch_threads: int = 1
    max_enqueued_batches: int = 100
    allowed_batch_sizes: tuple[int, ...] = ()
    max_execution_batch_size: int = 0
    enable_large_batch_splitting: bool = False


def read_batching_parameters(path: Path) -> BatchingParameters:
    """The parameters in a ``--batching_parameters_file``.

    Raises:
        InvalidRequestError: it cannot be read, or states what cannot be.
    """
    try:
        text = _COMMENT.sub("", path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        message = f"batching parameters file {path} cannot be read: {error}"
        raise InvalidRequestError(message) from error
    if rest := _FIELD.sub("", text).strip():
        message = f"batching parameters file {path}: cannot understand {rest[:60]!r}"
        raise InvalidRequestError(message)
    parameters = BatchingParameters()
    for name, plain, wrapped in _FIELD.findall(text):
        parameters = _with_field(parameters, name, plain or wrapped, path)
    _check(parameters, path)
    return parameters


def batched(
    function: Callable[..., Sequence[Any]],
    specs: Sequence[Any],
    parameters: BatchingParameters,
    queue_name: str,
) -> Callable[..., Sequence[Any]]:
    """*function* of tensors with a shared first dimension, behind a batching queue.

    The kernel keeps its queues by name: *queue_name* must be new for each function, or
    a second version would be answered by the first one's weights.
    """
    gather = tf.nondifferentiable_batch_function(
        num_batch_threads=parameters.num_batch_threads,
        max_batch_size=parameters.max_batch_size,
        batch_timeout_micros=parameters.batch_timeout_micros,
        allowed_batch_sizes=list(parameters.allowed_batch_sizes) or None,
        max_enqueued_batches=parameters.max_enqueued_batches,
        enable_large_batch_splitting=parameters.enable_large_batch_splitting,
        autograph=False,
    )(function)

    def queued(*inputs: Any) -> Any:
        with tf.name_scope(queue_name):
            return gather(*inputs)

    compiled = tf.function(queued, input_signature=specs, autograph=False)
    return compiled.get_concrete_function()  # type: ignore[no-any-return] # untyped


def _with_field(
    parameters: BatchingParameters, name: str, value: str, path: Path
) -> BatchingParameters:
    if name in _IGNORED:
        return parameters
    if not hasattr(parameters, name):
        raise InvalidRequestError(f"{path}: no batching parameter {name!r} is known")
    if name == "enable_large_batch_splitting":
        return replace(parameters, enable_large_batch_splitting=value == "true")
    if not value.isdigit():
        raise InvalidRequestError(f"{path}: {name} is {value!r}, not a whole number")
    if name == "allowed_batch_sizes":
        sizes = (*parameters.allowed_batch_sizes, int(value))
        return replace(parameters, allowed_batch_sizes=sizes)
    number: dict[str, Any] = {name: int(value)}
    return replace(parameters, **number)


def _check(parameters: BatchingParameters, path: Path) -> None:
    sizes = parameters.allowed_batch_sizes
    splitting = parameters.enable_large_batch_splitting
    last = (
        parameters.max_execution_batch_size if splitting else parameters.max_batch_size
    )
    if list(sizes) != sorted(set(sizes)):
        raise InvalidRequestError(f"{path}: allowed_batch_sizes {sizes} must increase")
    if sizes and last and sizes[-1] != last:
        message = f"{path}: the last of allowed_batch_sizes {sizes} must be {last}"
        raise InvalidRequestError(message)
    if parameters.max_batch_size < 1 or parameters.num_batch_threads < 1:
        message = f"{path}: max_batch_size and num_batch_threads must be at least 1"
        raise InvalidRequestError(message)

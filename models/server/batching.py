"""Batching by TensorFlow's own kernel; nothing is gathered in Python.

The kernel has two schedulers. The one that it takes by itself has a thread for each
function that looks at its queue a thousand times a second, for as long as the function is
loaded (measured: 14 ms of a core a second, also when nobody asks). The other one sleeps
until something comes, but knows no time for which a batch waits to be filled.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any

import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.eager import context, execute
from tensorflow.python.eager.cancellation import CancellationManager

from models.server.strictness import FRIENDLY, Strictness
from models.wire.batching_parameters import (
    PER_MODEL_FILE,
    BatchingParameters,
    read_batching_parameters,
)


@dataclass(frozen=True)
class Batching:
    """How the versions of a server are batched, as TensorFlow Serving's flags say.

    Attributes:
        parameters: of all models; None: no batching.
        per_model: each version has its own file instead, or is not batched; only the
            threads come from *parameters*.
    """

    parameters: BatchingParameters | None = None
    per_model: bool = False

    def of_version(self, folder: Path) -> BatchingParameters | None:
        """The parameters of the version in *folder*; None: each request by itself.

        Raises:
            InvalidRequestError: the version's own file cannot be used.
        """
        if self.parameters is None or not self.per_model:
            return self.parameters
        if not (folder / PER_MODEL_FILE).is_file():
            return None
        own = read_batching_parameters(folder / PER_MODEL_FILE)
        return replace(own, num_batch_threads=self.parameters.num_batch_threads)


def batched(
    function: Callable[..., Sequence[Any]],
    specs: Sequence[Any],
    parameters: BatchingParameters,
    queue_name: str,
    strictness: Strictness = FRIENDLY,
) -> Callable[..., Sequence[Any]]:
    """*function* of tensors with a shared first dimension, behind a batching queue.

    The kernel keeps its queues by name: *queue_name* must be new for each function, or
    a second version would be answered by the first one's weights.
    """
    gather = tf.nondifferentiable_batch_function(
        num_batch_threads=parameters.num_batch_threads,
        max_batch_size=parameters.max_batch_size,
        batch_timeout_micros=parameters.batch_timeout_micros,
        allowed_batch_sizes=_allowed_sizes(parameters),
        max_enqueued_batches=parameters.max_enqueued_batches,
        enable_large_batch_splitting=parameters.enable_large_batch_splitting,
        autograph=False,
    )(function)

    def queued(*inputs: Any) -> Any:
        with tf.name_scope(queue_name), _scheduler(parameters, strictness):
            return gather(*inputs)

    compiled = tf.function(queued, input_signature=specs, autograph=False)
    return compiled.get_concrete_function()  # type: ignore[no-any-return] # untyped


def call_cancelable(
    function: Any, inputs: Sequence[Any], manager: CancellationManager
) -> Sequence[Any]:
    """The outputs of a function of `batched` for *inputs*, unless *manager* cancels.

    Not `manager.get_cancelable_function`: it cancels what other threads call meanwhile.
    """
    current = context.context()
    options = current.function_call_options.as_attrs()
    outputs: Sequence[Any] = execute.execute_with_cancellation(
        function.name.decode(),
        num_outputs=len(function.outputs),
        inputs=[*inputs, *function.captured_inputs],
        attrs=tuple(chain(*options.items())),
        ctx=current,
        cancellation_manager=manager,
    )
    return outputs


@contextmanager
def _scheduler(
    parameters: BatchingParameters, strictness: Strictness
) -> Iterator[None]:
    if parameters.batch_timeout_micros > 0 or not strictness.sleeping_scheduler:
        yield
        return
    # It would look for the best number of batches at once; the parameters say it.
    batches = AttrValue(i=parameters.num_batch_threads)
    attributes = {
        "_enable_adaptive_scheduler": AttrValue(b=True),
        "_min_inflight_batches": batches,
        "_initial_inflight_batches": batches,
        "_max_inflight_batches": batches,
    }
    # The kernel reads them, but no function of TensorFlow's takes them.
    with tf.compat.v1.get_default_graph()._attr_scope(attributes):
        yield


def _allowed_sizes(parameters: BatchingParameters) -> list[int] | None:
    if not parameters.enable_large_batch_splitting:
        return list(parameters.allowed_batch_sizes) or None
    # The kernel takes the size of a part from the last of these.
    largest = parameters.computed_at_once
    sizes = parameters.allowed_batch_sizes or range(1, largest)
    return [*(size for size in sizes if size < largest), largest]

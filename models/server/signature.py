"""One signature of a SavedModel: tensors are checked before the graph sees them."""

from __future__ import annotations

import re
import uuid
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, TypeAlias

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.python.eager.cancellation import CancellationManager

from models.errors import ModelContractError
from models.server.batching import batched, call_cancelable
from models.server.serving_error import NoAnswerError, ServingError, invalid_argument
from models.server.strictness import Strictness
from models.wire.batching_parameters import BatchingParameters
from models.wire.tensors import from_tensor, to_string_tensor, to_tensor

Registration: TypeAlias = Callable[[Callable[[], None]], bool]
"""Takes what is to be called at the end of a call; false: it has ended already."""

_DIFFERENT_SHAPES: Final = "Dimensions of inputs should match"
"""How TensorFlow's batching kernel begins it."""
_FUNCTIONS: Final = re.compile(r"\{\{[^}]*\}\} ?")
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Signature:
    """What a loaded version answers to one kind of request; thread-safe."""

    def __init__(
        self,
        queue_name: str,
        function: Any,
        batching: BatchingParameters | None,
        strictness: Strictness,
    ) -> None:
        """Answer with *function*; requests that are batched meet in *queue_name*."""
        self._strictness = strictness
        self._specs: dict[str, Any] = function.structured_input_signature[1]
        self._inputs = sorted(self._specs)
        self._outputs = sorted(function.structured_outputs)
        self._batching = batching

        def run(*tensors: Any) -> list[Any]:
            answers = function(**dict(zip(self._inputs, tensors, strict=True)))
            return [answers[name] for name in self._outputs]

        self._run: Any = run
        if batching is not None:
            specs = [self._queued_spec(name) for name in self._inputs]
            unique = f"{queue_name}_{uuid.uuid4().hex[:8]}"
            self._run = batched(run, specs, batching, unique, strictness)

    def run(
        self,
        inputs: Mapping[str, Any],
        wanted: Sequence[str],
        when_given_up: Registration | None = None,
    ) -> dict[str, Any]:
        """TensorProtos in, TensorProtos out; *wanted* filters outputs (empty: all).

        What *when_given_up* is given is to be called when nobody waits for the answer
        any more. A batch that is for nobody is then not begun; one that is computed
        already goes on, as in TensorFlow Serving.

        Raises:
            ServingError: with the code to answer.
            NoAnswerError: it has no image, and the server is strict.
        """
        names = self._wanted(wanted)
        self._check_aliases(inputs)
        tensors = [self._tensor(name, inputs[name]) for name in self._inputs]
        self._check_batch(tensors)
        try:
            answers = self._answer(tensors, when_given_up)
        except tf.errors.OpError as error:
            raise self._failure(error) from error
        named = dict(zip(self._outputs, answers, strict=True))
        return {name: _to_proto(named[name].numpy()) for name in names}

    def _answer(
        self, tensors: Sequence[Any], when_given_up: Registration | None
    ) -> Sequence[Any]:
        if when_given_up is None or self._batching is None:
            answers: Sequence[Any] = self._run(*tensors)
            return answers
        manager = CancellationManager()
        if not when_given_up(manager.start_cancel):
            manager.start_cancel()
        return call_cancelable(self._run, tensors, manager)

    def _queued_spec(self, name: str) -> Any:
        spec = self._specs[name]
        if self._strictness.refuses_wrong_shapes:
            return spec
        return tf.TensorSpec([None] * spec.shape.rank, spec.dtype)

    def _failure(self, error: tf.errors.OpError) -> ServingError:
        reason = _reason(error.message)
        if not reason.startswith(_DIFFERENT_SHAPES):
            return ServingError(_CODES[error.error_code], reason)
        # batching_session.cc, MergeInputTensors: all requests of the batch get it.
        largest = max(self._inputs, key=lambda name: self._specs[name].shape.rank)
        message = (
            f"Tensors with name '{largest}' from different tasks have different shapes "
            "and padding is turned off. Set pad_variable_length_inputs to true, or "
            "ensure that all tensors with the same name have equal dimensions starting "
            "with the first dim."
        )
        return ServingError(grpc.StatusCode.FAILED_PRECONDITION, message)

    def _wanted(self, wanted: Sequence[str]) -> Sequence[str]:
        for name in wanted:
            if name not in self._outputs:
                message = f'output tensor alias not found in signature: "{name}"'
                raise invalid_argument(
                    f"{message} Outputs expected to be in {self._outputs}"
                )
        if len(set(wanted)) != len(wanted):
            raise invalid_argument(f"duplicate output tensor alias in {list(wanted)}")
        return wanted or self._outputs

    def _check_aliases(self, inputs: Mapping[str, Any]) -> None:
        extra = sorted(set(inputs) - set(self._inputs))
        missing = sorted(set(self._inputs) - set(inputs))
        if extra or missing:
            raise invalid_argument(
                "input size does not match signature: "
                f"Sent extra: {extra}. Missing but required: {missing}."
            )

    def _tensor(self, name: str, proto: Any) -> Any:
        spec = self._specs[name]
        if proto.dtype != spec.dtype.as_datatype_enum:
            raise invalid_argument(f"input {name!r} must be {spec.dtype.name}")
        try:
            # Not tf.make_ndarray: it copies the pixels once more.
            array = from_tensor(proto)
        except (ModelContractError, TypeError, ValueError) as error:
            raise invalid_argument(f"tensor parsing error: {name}") from error
        if array.ndim != spec.shape.rank:
            # A real TensorFlow Serving with oneDNN does not survive this one.
            raise invalid_argument(f"input {name!r} must have rank {spec.shape.rank}")
        refuses = self._strictness.refuses_wrong_shapes
        if refuses and not spec.shape.is_compatible_with(array.shape):
            message = f"input {name!r} has shape {array.shape}, not {spec.shape}"
            raise ServingError(grpc.StatusCode.ABORTED, message)
        return tf.constant(array)

    def _check_batch(self, tensors: Sequence[Any]) -> None:
        sizes = {int(tensor.shape[0]) for tensor in tensors}
        if len(sizes) != 1:
            raise invalid_argument(
                "Batching input tensors must have equal 0th dimensions"
            )
        if self._batching and sizes == {0}:
            self._check_empty()
        limit = self._batching.max_batch_size if self._batching else None
        if limit is not None and max(sizes) > limit:
            raise invalid_argument(
                f"Task size {max(sizes)} is larger than maximum input batch size {limit}"
            )

    def _check_empty(self) -> None:
        if not self._strictness.answers_empty_batches:
            raise NoAnswerError


def _reason(message: str) -> str:
    # Before it stand the functions or where the graph was made, behind it the node that
    # failed.
    lines = _FUNCTIONS.sub("", message.split("\n\t [[")[0]).splitlines()
    return lines[-1] if lines else ""


def _to_proto(array: Any) -> Any:
    if array.dtype == np.object_:
        return to_string_tensor(list(array))
    return to_tensor(array)

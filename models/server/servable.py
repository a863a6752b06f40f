"""One loaded version: a SavedModel whose signatures answer requests.

Errors carry the gRPC codes that a real TensorFlow Serving 2.20 was seen to answer with.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import numpy as np
import tensorflow as tf

from models.contract import WARMUP_FILE
from models.errors import ModelContractError
from models.server.batching import batched
from models.wire import messages
from models.wire.batching_parameters import BatchingParameters
from models.wire.tensors import from_tensor, to_string_tensor, to_tensor

DEFAULT_SIGNATURE: Final = "serving_default"
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class ServingError(Exception):
    """A request that is answered with a gRPC status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Answer with this *code* and *message*."""
        super().__init__(message)
        self.code = code


class Servable:
    """A version in memory; calls may come from many threads."""

    def __init__(
        self, name: str, version: int, folder: Path, batching: BatchingParameters | None
    ) -> None:
        """Load *folder*; None as *batching* runs each request by itself.

        Raises:
            OSError, ValueError, tf.errors.OpError: it cannot be loaded.
        """
        self.name = name
        self.version = version
        self._folder = folder
        self._batching = batching
        self._model = tf.saved_model.load(str(folder))
        self._signatures = {
            key: _Signature(f"{name}_{version}_{key}", function, batching)
            for key, function in self._model.signatures.items()
        }

    def predict(
        self, signature_name: str, inputs: Mapping[str, Any], wanted: Sequence[str]
    ) -> dict[str, Any]:
        """TensorProtos in, TensorProtos out; *wanted* filters outputs (empty: all).

        Raises:
            ServingError: with the code to answer.
        """
        signature = self._signatures.get(signature_name)
        if signature is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature_name}" not found.',
            )
        return signature.run(inputs, wanted)

    def signature_definitions(self) -> Any:
        """The SignatureDefMap of GetModelMetadata."""
        saved = messages.saved_model.SavedModel()
        saved.ParseFromString((self._folder / "saved_model.pb").read_bytes())
        answer = messages.SignatureDefMap()
        for key, definition in saved.meta_graphs[0].signature_def.items():
            answer.signature_def[key].CopyFrom(definition)
        return answer

    def warm_up(self) -> int:
        """Run the recorded warm-up requests; returns how many there were.

        Raises:
            ServingError: a recorded request fails.
        """
        count = 0
        for request in _warmup_requests(self._folder / WARMUP_FILE):
            name = request.model_spec.signature_name or DEFAULT_SIGNATURE
            self.predict(name, request.inputs, ())
            count += 1
        return count


class _Signature:
    def __init__(
        self, queue_name: str, function: Any, batching: BatchingParameters | None
    ) -> None:
        self._specs: dict[str, Any] = function.structured_input_signature[1]
        self._inputs = sorted(self._specs)
        self._outputs = sorted(function.structured_outputs)
        self._batching = batching

        def run(*tensors: Any) -> list[Any]:
            answers = function(**dict(zip(self._inputs, tensors, strict=True)))
            return [answers[name] for name in self._outputs]

        self._run: Any = run
        if batching is not None:
            specs = [self._specs[name] for name in self._inputs]
            unique = f"{queue_name}_{uuid.uuid4().hex[:8]}"
            self._run = batched(run, specs, batching, unique)

    def run(self, inputs: Mapping[str, Any], wanted: Sequence[str]) -> dict[str, Any]:
        names = self._wanted(wanted)
        self._check_aliases(inputs)
        tensors = [self._tensor(name, inputs[name]) for name in self._inputs]
        self._check_batch(tensors)
        try:
            answers = self._run(*tensors)
        except tf.errors.OpError as error:
            raise ServingError(_CODES[error.error_code], error.message) from error
        named = dict(zip(self._outputs, answers, strict=True))
        return {name: _to_proto(named[name].numpy()) for name in names}

    def _wanted(self, wanted: Sequence[str]) -> Sequence[str]:
        for name in wanted:
            if name not in self._outputs:
                message = f'output tensor alias not found in signature: "{name}"'
                raise _invalid(f"{message} Outputs expected to be in {self._outputs}")
        if len(set(wanted)) != len(wanted):
            raise _invalid(f"duplicate output tensor alias in {list(wanted)}")
        return wanted or self._outputs

    def _check_aliases(self, inputs: Mapping[str, Any]) -> None:
        extra = sorted(set(inputs) - set(self._inputs))
        missing = sorted(set(self._inputs) - set(inputs))
        if extra or missing:
            raise _invalid(
                "input size does not match signature: "
                f"Sent extra: {extra}. Missing but required: {missing}."
            )

    def _tensor(self, name: str, proto: Any) -> Any:
        spec = self._specs[name]
        if proto.dtype != spec.dtype.as_datatype_enum:
            raise _invalid(f"input {name!r} must be {spec.dtype.name}")
        try:
            # Not tf.make_ndarray: it copies the pixels once more.
            array = from_tensor(proto)
        except (ModelContractError, TypeError, ValueError) as error:
            raise _invalid(f"tensor parsing error: {name}") from error
        if array.ndim != spec.shape.rank:
            # A real TensorFlow Serving with oneDNN does not survive this one.
            raise _invalid(f"input {name!r} must have rank {spec.shape.rank}")
        if not spec.shape.is_compatible_with(array.shape):
            message = f"input {name!r} has shape {array.shape}, not {spec.shape}"
            raise ServingError(grpc.StatusCode.ABORTED, message)
        return tf.constant(array)

    def _check_batch(self, tensors: Sequence[Any]) -> None:
        sizes = {int(tensor.shape[0]) for tensor in tensors}
        if len(sizes) != 1:
            raise _invalid("Batching input tensors must have equal 0th dimensions")
        limit = self._batching.max_batch_size if self._batching else None
        if limit is not None and max(sizes) > limit:
            raise _invalid(
                f"Task size {max(sizes)} is larger than maximum input batch size {limit}"
            )


def _warmup_requests(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    for record in tf.data.TFRecordDataset(str(path)):
        log = messages.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            yield log.predict_log.request


def _to_proto(array: Any) -> Any:
    if array.dtype == np.object_:
        return to_string_tensor(list(array))
    return to_tensor(array)


def _invalid(message: str) -> ServingError:
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)

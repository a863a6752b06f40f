"""One loaded version: a SavedModel whose signatures answer requests, in batches.

Tensors are checked before the graph sees them. Requests fail with the code and the words
that a real TensorFlow Serving 2.20 was seen to give. `FRIENDLY` is for people and small
machines. `STRICT` fails wherever a real TensorFlow Serving fails, so that a test against it
hides nothing. Not imitated: there an empty batch also harms the request after it,
``--num_load_threads`` above one lets others load meanwhile, and
``pad_variable_length_inputs`` pads.

Batching is TensorFlow's own kernel; nothing is gathered in Python. The kernel has two
schedulers. The default one has a thread for each function that polls its queue a thousand
times a second, as long as the function is loaded (measured: 14 ms of a core a second, also
when idle). The other one sleeps until a request comes, but has no time for which a batch
waits to be filled.
"""

from __future__ import annotations

import re
import statistics
import time
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from itertools import chain
from pathlib import Path
from typing import Any, Final, TypeAlias

import grpc
import numpy as np
import tensorflow as tf
from tensorflow.core.framework.attr_value_pb2 import AttrValue
from tensorflow.python.eager import context, execute
from tensorflow.python.eager.cancellation import CancellationManager

from models.contract import (
    CARD_FILE,
    IMAGES_INPUT,
    SERVING_SIGNATURE,
    WARMUP_FILE,
    ModelCard,
)
from models.errors import ModelContractError
from models.wire import protos
from models.wire.config import (
    PER_MODEL_FILE,
    VERSIONS_KEPT,
    BatchingParameters,
    read_batching_parameters,
    serving_defaults,
)
from models.wire.messages import from_tensor, to_string_tensor, to_tensor


class Servable:
    """A version in memory; calls may come from many threads."""

    def __init__(
        self,
        name: str,
        version: int,
        folder: Path,
        batching: BatchingParameters | None,
        strictness: Strictness,
    ) -> None:
        """Load *folder*; None as *batching* runs each request by itself.

        Raises:
            OSError, ValueError, tf.errors.OpError: the version cannot be loaded.
        """
        self.name = name
        self.version = version
        self._folder = folder
        self._model = tf.saved_model.load(str(folder))
        self._signatures = {
            key: Signature(f"{name}_{version}_{key}", function, batching, strictness)
            for key, function in self._model.signatures.items()
        }

    def predict(
        self,
        signature_name: str,
        inputs: Mapping[str, Any],
        wanted: Sequence[str],
        on_cancel: CancelRegistration | None = None,
    ) -> dict[str, Any]:
        """`Signature.run` of the signature of that name.

        Raises:
            ServingError: the request fails; the error has the status code.
            NoAnswerError: the request gets no answer.
        """
        signature = self._signatures.get(signature_name)
        if signature is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature_name}" not found.',
            )
        return signature.run(inputs, wanted, on_cancel)

    def signature_definitions(self) -> Any:
        """The SignatureDefMap of GetModelMetadata."""
        saved = protos.saved_model.SavedModel()
        saved.ParseFromString((self._folder / "saved_model.pb").read_bytes())
        answer = protos.SignatureDefMap()
        for key, definition in saved.meta_graphs[0].signature_def.items():
            answer.signature_def[key].CopyFrom(definition)
        return answer

    def warm_up(self) -> int:
        """Run the recorded warm-up requests; returns their number.

        Raises:
            ServingError: a recorded request fails.
        """
        count = 0
        for request in _warmup_requests(self._folder / WARMUP_FILE):
            name = request.model_spec.signature_name or SERVING_SIGNATURE
            self.predict(name, request.inputs, ())
            count += 1
        return count


def _warmup_requests(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    for record in tf.data.TFRecordDataset(str(path)):
        log = protos.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            yield log.predict_log.request


CancelRegistration: TypeAlias = Callable[[Callable[[], None]], bool]
"""Registers a callback for the end of a gRPC call; false: the call has ended already."""

_DIFFERENT_SHAPES: Final = "Dimensions of inputs should match"
"""The beginning of the batching kernel's message."""
_FUNCTIONS: Final = re.compile(r"\{\{[^}]*\}\} ?")
_CODES: Final = {code.value[0]: code for code in grpc.StatusCode}


class Signature:
    """One signature of a loaded version; thread-safe."""

    def __init__(
        self,
        queue_name: str,
        function: Any,
        batching: BatchingParameters | None,
        strictness: Strictness,
    ) -> None:
        """Answer with *function*; requests are batched in the queue *queue_name*."""
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
        on_cancel: CancelRegistration | None = None,
    ) -> dict[str, Any]:
        """TensorProtos in, TensorProtos out; *wanted* filters outputs (empty: all).

        *on_cancel* registers a callback for the end of the call. A batch of cancelled calls
        alone is then not begun; one that is being computed is finished, as in TensorFlow
        Serving.

        Raises:
            ServingError: the request fails; the error has the status code.
            NoAnswerError: the request has no image, and the server is strict.
        """
        names = self._wanted(wanted)
        self._check_aliases(inputs)
        tensors = [self._tensor(name, inputs[name]) for name in self._inputs]
        self._check_batch(tensors)
        try:
            answers = self._answer(tensors, on_cancel)
        except tf.errors.OpError as error:
            raise self._failure(error) from error
        named = dict(zip(self._outputs, answers, strict=True))
        return {name: _to_proto(named[name].numpy()) for name in names}

    def _answer(
        self, tensors: Sequence[Any], on_cancel: CancelRegistration | None
    ) -> Sequence[Any]:
        if on_cancel is None or self._batching is None:
            answers: Sequence[Any] = self._run(*tensors)
            return answers
        manager = CancellationManager()
        if not on_cancel(manager.start_cancel):
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
    # TensorFlow puts functions or the graph's origin before the reason, and the failed node
    # after it.
    lines = _FUNCTIONS.sub("", message.split("\n\t [[")[0]).splitlines()
    return lines[-1] if lines else ""


def _to_proto(array: Any) -> Any:
    if array.dtype == np.object_:
        return to_string_tensor(list(array))
    return to_tensor(array)


@dataclass(frozen=True)
class Strictness:
    """The server's behaviour; each default is the friendly one.

    Attributes:
        refuses_wrong_shapes: an image of another size than the signature's is refused
            (ABORTED). Otherwise the graph decides, and requests of different sizes in one
            batch all fail (FAILED_PRECONDITION, "different shapes").
        answers_empty_batches: at once. Otherwise a request of no image has no answer
            until its deadline.
        sleeping_scheduler: idle queues cost nothing. Otherwise they are TensorFlow
            Serving's own, with its message when they are full.
        default_batching: the parameters if no file states them.
        versions_kept: the newest versions that are loaded below ``--model_base_path``.
        resolves_base_path: a relative one is taken from the working folder. Otherwise it
            is refused.
        waits_for_whole_versions: a version's folder without a graph is ignored. Otherwise
            it is a version that cannot be loaded.
        serves_while_loading: the port is open from the start, and a version that cannot
            be loaded says so (END) and is tried again while others are loaded.
            Otherwise the port opens when all are loaded; a version that cannot be
            loaded is LOADING until its retries are over, and keeps others waiting.
    """

    refuses_wrong_shapes: bool = True
    answers_empty_batches: bool = True
    sleeping_scheduler: bool = True
    default_batching: Callable[[], BatchingParameters] = BatchingParameters
    versions_kept: int = VERSIONS_KEPT
    resolves_base_path: bool = True
    waits_for_whole_versions: bool = True
    serves_while_loading: bool = True


FRIENDLY: Final = Strictness()
STRICT: Final = Strictness(
    refuses_wrong_shapes=False,
    answers_empty_batches=False,
    sleeping_scheduler=False,
    default_batching=serving_defaults,
    versions_kept=1,
    resolves_base_path=False,
    waits_for_whole_versions=False,
    serves_while_loading=False,
)


@dataclass(frozen=True)
class Batching:
    """How a server batches the requests to its versions, by TensorFlow Serving's flags.

    Attributes:
        parameters: of all models; None: no batching.
        per_model: each version has its own file instead, or is not batched; only the
            threads come from *parameters*.
    """

    parameters: BatchingParameters | None = None
    per_model: bool = False

    def of_version(self, folder: Path) -> BatchingParameters | None:
        """The parameters of the version in *folder*; None: no batching.

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

    Not `manager.get_cancelable_function`: that also cancels the calls of other threads.
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
    # It would search for the best number of parallel batches; here the parameters fix it.
    batches = AttrValue(i=parameters.num_batch_threads)
    attributes = {
        "_enable_adaptive_scheduler": AttrValue(b=True),
        "_min_inflight_batches": batches,
        "_initial_inflight_batches": batches,
        "_max_inflight_batches": batches,
    }
    # The kernel reads these attributes, but no function of TensorFlow takes them.
    with tf.compat.v1.get_default_graph()._attr_scope(attributes):
        yield


def _allowed_sizes(parameters: BatchingParameters) -> list[int] | None:
    if not parameters.enable_large_batch_splitting:
        return list(parameters.allowed_batch_sizes) or None
    # The kernel takes the size of a part from the last of these.
    largest = parameters.computed_at_once
    sizes = parameters.allowed_batch_sizes or range(1, largest)
    return [*(size for size in sizes if size < largest), largest]


class ServingError(Exception):
    """A request that is answered with a gRPC status other than OK."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        """Answer with this *code* and *message*."""
        super().__init__(message)
        self.code = code


class NoAnswerError(Exception):
    """A request that gets no answer: it ends when its caller's deadline does."""


def invalid_argument(message: str) -> ServingError:
    """The error for a request that is wrong whatever the server's state."""
    return ServingError(grpc.StatusCode.INVALID_ARGUMENT, message)


_CALLS: Final = 3


def batch_seconds(folder: Path, sizes: Sequence[int]) -> dict[int, float]:
    """Seconds of a batch of each of *sizes* with the SavedModel in *folder*.

    The median of three calls after one that is not counted, with all cores.

    Raises:
        ModelContractError: the SavedModel cannot be loaded, or its card cannot be read.
        OSError: there is no card.
    """
    card = ModelCard.from_json((folder / CARD_FILE).read_bytes())
    signature = _load_signature(folder)

    def call(pixels: np.ndarray) -> float:
        began = time.perf_counter()
        for output in signature(**{IMAGES_INPUT: tf.constant(pixels)}).values():
            output.numpy()
        return time.perf_counter() - began

    generator = np.random.default_rng(0)
    seconds = {}
    for size in sizes:
        shape = (size, *card.image_size, 3)
        pixels = generator.integers(0, 256, shape, dtype=np.uint8)
        call(pixels)
        seconds[size] = statistics.median(call(pixels) for _ in range(_CALLS))
    return seconds


def _load_signature(folder: Path) -> Any:
    try:
        return tf.saved_model.load(str(folder)).signatures[SERVING_SIGNATURE]
    except (OSError, ValueError, KeyError, tf.errors.OpError) as error:
        message = (
            f"{folder} cannot be measured, it is not a SavedModel of ours: {error}"
        )
        raise ModelContractError(message) from error

"""One loaded version: a SavedModel whose signatures answer requests."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any, Final

import grpc
import tensorflow as tf

from models.contract import WARMUP_FILE
from models.server.serving_error import ServingError
from models.server.signature import Registration, Signature
from models.server.strictness import Strictness
from models.wire import messages
from models.wire.batching_parameters import BatchingParameters

DEFAULT_SIGNATURE: Final = "serving_default"


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
            OSError, ValueError, tf.errors.OpError: it cannot be loaded.
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
        when_given_up: Registration | None = None,
    ) -> dict[str, Any]:
        """As `Signature.run`, of the signature of that name.

        Raises:
            ServingError: with the code to answer.
            NoAnswerError: there is none.
        """
        signature = self._signatures.get(signature_name)
        if signature is None:
            raise ServingError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'Serving signature key "{signature_name}" not found.',
            )
        return signature.run(inputs, wanted, when_given_up)

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


def _warmup_requests(path: Path) -> Iterator[Any]:
    if not path.exists():
        return
    for record in tf.data.TFRecordDataset(str(path)):
        log = messages.PredictionLog.FromString(record.numpy())
        if log.HasField("predict_log"):
            yield log.predict_log.request

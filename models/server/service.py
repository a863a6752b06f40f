"""The gRPC services: Predict, GetModelMetadata, GetModelStatus; others: UNIMPLEMENTED."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, Final

import grpc

from models.contract import SERVING_SIGNATURE
from models.server.servable import NoAnswerError, ServingError, invalid_argument
from models.server.versions import VersionManager
from models.wire import protos

MAX_ERROR_LENGTH: Final = 1024
METADATA_FIELD: Final = "signature_def"


class PredictionService(protos.prediction_service.PredictionServiceServicer):  # type: ignore[misc] # built by protobuf at run time
    """Predict and GetModelMetadata."""

    def __init__(self, versions: VersionManager) -> None:
        """Answer with the versions that *versions* has loaded."""
        self._versions = versions

    def Predict(self, request: Any, context: Any) -> Any:  # noqa: N802
        """Run one signature of one version."""
        return _answer(context, lambda: self._predict(request, context))

    def GetModelMetadata(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The signatures of one version."""
        return _answer(context, lambda: self._metadata(request))

    def _predict(self, request: Any, context: Any) -> Any:
        servable = _find(self._versions, request)
        name = request.model_spec.signature_name or SERVING_SIGNATURE
        wanted = list(request.output_filter)
        outputs = servable.predict(name, request.inputs, wanted, context.add_callback)
        response = protos.PredictResponse(outputs=outputs)
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.model_spec.signature_name = name
        return response

    def _metadata(self, request: Any) -> Any:
        if not request.metadata_field:
            message = "GetModelMetadataRequest must specify at least one metadata_field"
            raise invalid_argument(message)
        for field in request.metadata_field:
            if field != METADATA_FIELD:
                message = f"Metadata field {field} is not supported"
                raise invalid_argument(message)
        servable = _find(self._versions, request)
        response = protos.GetModelMetadataResponse()
        response.model_spec.name = servable.name
        response.model_spec.version.value = servable.version
        response.metadata[METADATA_FIELD].Pack(servable.signature_definitions())
        return response


class ModelService(protos.model_service.ModelServiceServicer):  # type: ignore[misc] # built by protobuf at run time
    """GetModelStatus."""

    def __init__(self, versions: VersionManager) -> None:
        """Answer with the states in *versions*."""
        self._versions = versions

    def GetModelStatus(self, request: Any, context: Any) -> Any:  # noqa: N802
        """The states of a model's versions."""
        return _answer(context, lambda: self._status(request))

    def _status(self, request: Any) -> Any:
        _check_spec(request)
        version = _version(request.model_spec)
        states = self._versions.states(request.model_spec.name, version)
        response = protos.GetModelStatusResponse()
        for number, state in sorted(states.items(), reverse=True):
            status = response.model_version_status.add(version=number)
            status.state = protos.ModelVersionStatus.State.Value(state.state)
            if state.error:
                status.status.error_code = grpc.StatusCode.UNKNOWN.value[0]
                status.status.error_message = state.error
        return response


def _find(versions: VersionManager, request: Any) -> Any:
    _check_spec(request)
    spec = request.model_spec
    return versions.find(spec.name, _version(spec), spec.version_label or None)


def _check_spec(request: Any) -> None:
    if not request.HasField("model_spec"):
        raise invalid_argument("Missing ModelSpec")
    if not request.model_spec.name:
        message = "ModelSpec has no name specified."
        raise invalid_argument(message)


def _version(spec: Any) -> int | None:
    return int(spec.version.value) if spec.HasField("version") else None


def _answer(context: Any, call: Callable[[], Any]) -> Any:
    if not context.is_active():  # the caller has cancelled: compute nothing
        return context.abort(grpc.StatusCode.CANCELLED, "the call has ended")
    try:
        return call()
    except NoAnswerError:
        _wait_for_the_end(context)
        return context.abort(grpc.StatusCode.CANCELLED, "the call has ended")
    except ServingError as error:
        message = str(error)
        if len(message) > MAX_ERROR_LENGTH:
            message = message[:MAX_ERROR_LENGTH] + "...TRUNCATED"
        return context.abort(error.code, message)


def _wait_for_the_end(context: Any) -> None:
    ended = threading.Event()
    if context.add_callback(ended.set):
        ended.wait()

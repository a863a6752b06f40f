"""TensorFlow Serving's protobuf messages, loaded without running TensorFlow.

``tensorflow_serving.apis.*_pb2`` import ``tensorflow.core.*_pb2``, and that would run
``tensorflow/__init__``: 572 MB and 2.2 s a process instead of 33 MB and 0.05 s. The
message modules themselves need only protobuf, so they are imported below a bare stand-in
for the package, which is taken out again: a later real ``import tensorflow`` works.
Where only the message modules are installed (the API's image), there is nothing to
stand in for.

Two messages that its Python package leaves out are declared here, in a descriptor pool of
their own, so that protobuf's own text format reads and checks the files as the server does.
Names and numbers: tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
tensorflow_serving/config/monitoring_config.proto.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)


@contextmanager
def _bare_tensorflow() -> Iterator[None]:
    if "tensorflow" in sys.modules:
        yield
        return
    spec = importlib.util.find_spec("tensorflow")
    if spec is None or spec.submodule_search_locations is None:
        raise ImportError(
            "TensorFlow's message modules are not installed: "
            "pip install tensorflow-serving-api"
        )
    bare = ModuleType("tensorflow")
    bare.__path__ = list(spec.submodule_search_locations)
    sys.modules["tensorflow"] = bare
    try:
        yield
    finally:
        del sys.modules["tensorflow"]


def _load(module: str) -> Any:
    return importlib.import_module(module)


with _bare_tensorflow():
    _apis = "tensorflow_serving.apis"
    _metadata: Any = _load(f"{_apis}.get_model_metadata_pb2")
    _model: Any = _load(f"{_apis}.model_pb2")
    _predict: Any = _load(f"{_apis}.predict_pb2")
    _prediction_log: Any = _load(f"{_apis}.prediction_log_pb2")
    _status: Any = _load(f"{_apis}.get_model_status_pb2")
    _server_config: Any = _load("tensorflow_serving.config.model_server_config_pb2")
    _tensor: Any = _load("tensorflow.core.framework.tensor_pb2")
    model_service: Any = _load(f"{_apis}.model_service_pb2_grpc")
    prediction_service: Any = _load(f"{_apis}.prediction_service_pb2_grpc")
    saved_model: Any = _load("tensorflow.core.protobuf.saved_model_pb2")
    types: Any = _load("tensorflow.core.framework.types_pb2")

# Protobuf builds these classes while it loads, so a type checker cannot see them.
TensorProto: Any = _tensor.TensorProto
PredictRequest: Any = _predict.PredictRequest
PredictResponse: Any = _predict.PredictResponse
ModelSpec: Any = _model.ModelSpec
GetModelStatusRequest: Any = _status.GetModelStatusRequest
GetModelStatusResponse: Any = _status.GetModelStatusResponse
ModelVersionStatus: Any = _status.ModelVersionStatus
GetModelMetadataRequest: Any = _metadata.GetModelMetadataRequest
GetModelMetadataResponse: Any = _metadata.GetModelMetadataResponse
SignatureDefMap: Any = _metadata.SignatureDefMap
PredictionLog: Any = _prediction_log.PredictionLog
ModelServerConfig: Any = _server_config.ModelServerConfig

# --- messages that the package leaves out -------------------------------------------------

_PACKAGE: Final = "tensorflow.serving"
_FIELD: Final = descriptor_pb2.FieldDescriptorProto
_INT64_VALUE: Final = "google.protobuf.Int64Value"

_WRAPPED: Final = {
    "max_batch_size": (1, _INT64_VALUE),
    "batch_timeout_micros": (2, _INT64_VALUE),
    "max_enqueued_batches": (3, _INT64_VALUE),
    "num_batch_threads": (4, _INT64_VALUE),
    "thread_pool_name": (5, "google.protobuf.StringValue"),
    "enable_large_batch_splitting": (8, "google.protobuf.BoolValue"),
    "max_execution_batch_size": (9, _INT64_VALUE),
}


def _batching_parameters(file: Any) -> None:
    message = file.message_type.add(name="BatchingParameters")
    for name, (number, kind) in _WRAPPED.items():
        _add(message, name, number, _FIELD.TYPE_MESSAGE, f".{kind}")
    _add(message, "allowed_batch_sizes", 6, _FIELD.TYPE_INT64)
    message.field[-1].label = _FIELD.LABEL_REPEATED
    _add(message, "pad_variable_length_inputs", 7, _FIELD.TYPE_BOOL)


def _monitoring_config(file: Any) -> None:
    prometheus = file.message_type.add(name="PrometheusConfig")
    _add(prometheus, "enable", 1, _FIELD.TYPE_BOOL)
    _add(prometheus, "path", 2, _FIELD.TYPE_STRING)
    monitoring = file.message_type.add(name="MonitoringConfig")
    kind = f".{_PACKAGE}.PrometheusConfig"
    _add(monitoring, "prometheus_config", 1, _FIELD.TYPE_MESSAGE, kind)


def _add(message: Any, name: str, number: int, kind: Any, type_name: str = "") -> None:
    field = message.field.add(name=name, number=number, type=kind)
    field.label = _FIELD.LABEL_OPTIONAL
    if type_name:
        field.type_name = type_name


def _pool() -> Any:
    pool = descriptor_pool.DescriptorPool()
    pool.AddSerializedFile(wrappers_pb2.DESCRIPTOR.serialized_pb)
    file = descriptor_pb2.FileDescriptorProto(
        name="kennel/serving_files.proto", package=_PACKAGE, syntax="proto3"
    )
    file.dependency.append(wrappers_pb2.DESCRIPTOR.name)
    _batching_parameters(file)
    _monitoring_config(file)
    pool.Add(file)
    return pool


def _class(pool: Any, name: str) -> Any:
    descriptor = pool.FindMessageTypeByName(f"{_PACKAGE}.{name}")
    return message_factory.GetMessageClass(descriptor)


_OWN_POOL: Final = _pool()

BatchingParametersMessage: Any = _class(_OWN_POOL, "BatchingParameters")
MonitoringConfigMessage: Any = _class(_OWN_POOL, "MonitoringConfig")

"""Two messages of TensorFlow Serving that its Python package leaves out.

Their fields are declared here, in a descriptor pool of their own, so that protobuf's own
text format reads and checks the files as the server does. Names and numbers:
tensorflow_serving/servables/tensorflow/session_bundle_config.proto and
tensorflow_serving/config/monitoring_config.proto.
"""

from __future__ import annotations

from typing import Any, Final

from google.protobuf import (
    descriptor_pb2,
    descriptor_pool,
    message_factory,
    wrappers_pb2,
)

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

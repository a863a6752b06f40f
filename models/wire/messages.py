"""TensorFlow Serving's messages, loaded without running TensorFlow.

``tensorflow_serving.apis.*_pb2`` import ``tensorflow.core.*_pb2``, and that would run
``tensorflow/__init__``: 572 MB and 2.2 s a process instead of 33 MB and 0.05 s. The
message modules themselves need only protobuf, so they are imported below a bare stand-in
for the package, which is taken out again: a later real ``import tensorflow`` works.
Where only the message modules are installed (the API's image), there is nothing to
stand in for.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import ModuleType
from typing import Any


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
    predict: Any = _load(f"{_apis}.predict_pb2")
    model: Any = _load(f"{_apis}.model_pb2")
    status: Any = _load(f"{_apis}.get_model_status_pb2")
    metadata: Any = _load(f"{_apis}.get_model_metadata_pb2")
    prediction_log: Any = _load(f"{_apis}.prediction_log_pb2")
    prediction_service: Any = _load(f"{_apis}.prediction_service_pb2_grpc")
    model_service: Any = _load(f"{_apis}.model_service_pb2_grpc")
    server_config: Any = _load("tensorflow_serving.config.model_server_config_pb2")
    tensor: Any = _load("tensorflow.core.framework.tensor_pb2")
    types: Any = _load("tensorflow.core.framework.types_pb2")
    saved_model: Any = _load("tensorflow.core.protobuf.saved_model_pb2")

TensorProto: Any = tensor.TensorProto
PredictRequest: Any = predict.PredictRequest
PredictResponse: Any = predict.PredictResponse
ModelSpec: Any = model.ModelSpec
GetModelStatusRequest: Any = status.GetModelStatusRequest
GetModelStatusResponse: Any = status.GetModelStatusResponse
ModelVersionStatus: Any = status.ModelVersionStatus
GetModelMetadataRequest: Any = metadata.GetModelMetadataRequest
GetModelMetadataResponse: Any = metadata.GetModelMetadataResponse
SignatureDefMap: Any = metadata.SignatureDefMap
PredictionLog: Any = prediction_log.PredictionLog
ModelServerConfig: Any = server_config.ModelServerConfig
"""Protobuf builds these classes while it loads, so a type checker cannot see them."""

"""TensorFlow Serving's REST paths: status, metadata and predict.

GET /v1/models/{name} is our own view; it holds the status too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from models.contract import IMAGES_INPUT, LOGITS_OUTPUT, PROBABILITIES_OUTPUT, ModelCard
from models.errors import NotFoundError
from models.wire.messages import ModelRef
from service.compatible.classifier import Classifier, numbers
from service.compatible.instances import SIGNATURES, read_instances
from service.documents.operations import documented
from service.documents.tensorflow_serving import SHOW_METADATA, SHOW_STATUS, TF_PREDICT
from service.routing import PINNED
from service.served.version_status import model_version_status

_MODEL: Final = "/v1/models/<word:name>"
_LABEL: Final = "/labels/<word:label>"


@dataclass(frozen=True)
class TensorFlowServingViews:
    """The views of one protocol and what they work with."""

    classifier: Classifier

    def blueprint(self) -> Blueprint:
        """The routes: each view for the newest version, one by number, one by label."""
        routes = Blueprint("tensorflow-serving", __name__)
        for end, which in (("", "newest"), (PINNED, "version"), (_LABEL, "label")):
            path = _MODEL + end
            routes.add_url_rule(f"{path}/metadata", f"metadata_{which}", self.metadata)
            routes.add_url_rule(
                f"{path}:predict", f"predict_{which}", self.predict, methods=["POST"]
            )
            if end:
                routes.add_url_rule(path, f"status_{which}", self.status)
        return routes

    @documented(SHOW_STATUS)
    def status(self, name: str, **chosen: Any) -> Response:
        """The state of one version."""
        model, budget = self._model(name, chosen), self.classifier.budget(request)
        catalog, version = self.classifier.catalog, model.version
        if model.label is not None:
            version = catalog.describe(model, budget.left()).version
        versions = catalog.versions(name, budget.left())
        asked = [each for each in versions if each.version == version]
        if not asked:
            message = (
                f"model {model} is not known: GET /v1/models/{name} lists versions"
            )
            raise NotFoundError(message, code="version_not_found")
        return jsonify(model_version_status=model_version_status(asked))

    @documented(SHOW_METADATA)
    def metadata(self, name: str, **chosen: Any) -> Response:
        """The signatures of one version, as this service takes them."""
        model, budget = self._model(name, chosen), self.classifier.budget(request)
        card = self.classifier.catalog.describe(model, budget.left())
        signatures = {signature: _signature(card) for signature in SIGNATURES}
        return jsonify(
            model_spec={
                "name": card.name,
                "signature_name": "",
                "version": str(card.version),
            },
            metadata={"signature_def": {"signature_def": signatures}},
        )

    @documented(TF_PREDICT)
    def predict(self, name: str, **chosen: Any) -> Response:
        """The model's outputs for the images of one request."""
        model = self._model(name, chosen)
        timeout = self.classifier.reception.receive(model)
        instances = read_instances(request, self.classifier.max_images)
        outputs = self.classifier.classify(instances.images, model, timeout)
        columns = {
            PROBABILITIES_OUTPUT: numbers(outputs.prediction.probabilities),
            LOGITS_OUTPUT: numbers(outputs.prediction.logits),
        }
        if instances.in_columns:
            return outputs.send(jsonify(outputs=columns))
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        return outputs.send(jsonify(predictions=predictions))

    def _model(self, name: str, chosen: dict[str, Any]) -> ModelRef:
        return ModelRef(self.classifier.catalog.find(name), **chosen)


def _signature(card: ModelCard) -> dict[str, Any]:
    row = _tensor("DT_FLOAT", -1, len(card.labels))
    return {
        "inputs": {IMAGES_INPUT: _tensor("DT_STRING", -1)},
        "outputs": {PROBABILITIES_OUTPUT: row, LOGITS_OUTPUT: row},
        "method_name": "tensorflow/serving/predict",
    }


def _tensor(dtype: str, *shape: int) -> dict[str, Any]:
    dimensions = [{"size": str(size), "name": ""} for size in shape]
    return {
        "dtype": dtype,
        "tensor_shape": {"dim": dimensions, "unknown_rank": False},
        "name": "",
    }

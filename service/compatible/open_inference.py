"""The Open Inference Protocol, version 2: health, metadata and inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Response, jsonify, request
from flask_smorest import Blueprint

from models.card import ModelCard
from models.contract import IMAGES_INPUT
from models.errors import InvalidRequestError, ModelUnavailableError
from models.version import VERSION
from models.wire.model_ref import ModelRef
from service.compatible.classifier import Classifier
from service.compatible.inference import OUTPUTS, read_inference
from service.compatible.tensors import BYTES
from service.documents.inference import INFER
from service.documents.open_inference import (
    SERVER_LIVE,
    SERVER_READY,
    SHOW_INPUTS,
    SHOW_READY,
    SHOW_SERVER,
)
from service.documents.operations import documented
from service.routing import PINNED
from service.served.readiness import PROBE_SECONDS, available_versions

_MODEL: Final = "/models/<word:name>"


@dataclass(frozen=True)
class OpenInferenceViews:
    """The views of one protocol and what they work with."""

    classifier: Classifier

    def blueprint(self) -> Blueprint:
        """The routes: each view of a model for the newest version and one by number."""
        routes = Blueprint("open-inference", __name__, url_prefix="/v2")
        routes.add_url_rule("", view_func=self.server)
        routes.add_url_rule("/health/live", view_func=self.live)
        routes.add_url_rule("/health/ready", view_func=self.ready)
        for path, which in ((_MODEL, "newest"), (_MODEL + PINNED, "version")):
            routes.add_url_rule(path, f"model_{which}", self.model)
            routes.add_url_rule(f"{path}/ready", f"ready_{which}", self.model_ready)
            routes.add_url_rule(
                f"{path}/infer", f"infer_{which}", self.infer, methods=["POST"]
            )
        return routes

    @documented(SHOW_SERVER)
    def server(self) -> Response:
        """Who answers here."""
        extensions = ["binary_tensor_data"]
        return jsonify(name="kennel", version=VERSION, extensions=extensions)

    @documented(SERVER_LIVE)
    def live(self) -> Response:
        """The process answers."""
        return jsonify(live=True)

    @documented(SERVER_READY)
    def ready(self) -> Response:
        """The default model can be asked."""
        catalog = self.classifier.catalog
        available_versions(catalog, catalog.default_name(), self._probe_seconds())
        return jsonify(ready=True)

    @documented(SHOW_READY)
    def model_ready(self, name: str, version: int | None = None) -> Response:
        """One model or version can be asked."""
        catalog = self.classifier.catalog
        seconds = self._probe_seconds()
        available = available_versions(catalog, catalog.find(name), seconds)
        if version is not None and version not in available:
            states = catalog.versions(catalog.find(name), seconds)
            problems = [each.problem for each in states if each.version == version]
            others = f"available: {', '.join(map(str, available))}"
            known = "; ".join(filter(None, [others, *problems]))
            message = f"version {version} of {name!r} is not loaded ({known})"
            raise ModelUnavailableError(message)
        return jsonify(name=name, ready=True)

    @documented(SHOW_INPUTS)
    def model(self, name: str, version: int | None = None) -> Response:
        """The tensors of one model, as this service takes them."""
        catalog, budget = self.classifier.catalog, self.classifier.budget(request)
        model = ModelRef(catalog.find(name), version)
        card = catalog.describe(model, budget.left())
        available = available_versions(catalog, card.name, budget.left())
        return jsonify(
            name=card.name,
            versions=[str(each) for each in available],
            platform="tensorflow_savedmodel",
            inputs=[_tensor(IMAGES_INPUT, BYTES, -1)],
            outputs=[_tensor(each, "FP32", -1, len(card.labels)) for each in OUTPUTS],
        )

    @documented(INFER)
    def infer(self, name: str, version: int | None = None) -> Response:
        """The model's outputs for the images of one request."""
        model = ModelRef(self.classifier.catalog.find(name), version)
        timeout = self.classifier.reception.receive(model)
        inference = read_inference(request, self.classifier.max_images)

        def accept(card: ModelCard) -> None:
            if inference.size not in (None, card.image_size):
                message = (
                    f"images of {inference.size} pixels, the model takes "
                    f"{card.image_size}: resize them, or send the files as BYTES"
                )
                raise InvalidRequestError(message)

        outputs = self.classifier.classify(inference.images, model, timeout, accept)
        return inference.answer(outputs)

    def _probe_seconds(self) -> float:
        return min(self.classifier.budget(request).left(), PROBE_SECONDS)


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}

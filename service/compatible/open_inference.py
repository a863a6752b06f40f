"""The Open Inference Protocol, version 2: health, metadata and inference."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Response, jsonify, request
from flask_smorest import Blueprint
from prometheus_client.registry import Collector

from models import VERSION
from models.contract import IMAGES_INPUT, ModelCard
from models.errors import InvalidRequestError, ModelUnavailableError, NotFoundError
from models.wire.messages import AVAILABLE, ModelRef
from service.compatible.classifier import Classifier
from service.compatible.inference import OUTPUTS, read_inference
from service.compatible.tensors import BYTES
from service.documents.inference import INFER
from service.documents.open_inference import (
    SERVER_LIVE,
    SERVER_READY,
    SHOW_CONFIG,
    SHOW_INDEX,
    SHOW_INPUTS,
    SHOW_READY,
    SHOW_SERVER,
    SHOW_STATS,
)
from service.documents.operations import documented
from service.observation.metrics.inference import count_by_version
from service.predictions.json_body import check_members, parse_body
from service.routing import PINNED
from service.served.readiness import PROBE_SECONDS, available_versions

PLATFORM: Final = "tensorflow_savedmodel"
STATES: Final = {
    "START": "LOADING",
    "LOADING": "LOADING",
    AVAILABLE: "READY",
    "UNLOADING": "UNLOADING",
    "END": "UNAVAILABLE",
}
"""Triton's words for those of TensorFlow Serving."""
MAX_INDEX_BYTES: Final = 64 * 1024

_MODEL: Final = "/models/<word:name>"


@dataclass(frozen=True)
class OpenInferenceViews:
    """The views of one protocol and what they work with.

    Attributes:
        instruments: what all processes have counted.
    """

    classifier: Classifier
    instruments: Collector

    def blueprint(self) -> Blueprint:
        """The routes: each view of a model for the newest version and one by number."""
        routes = Blueprint("open-inference", __name__, url_prefix="/v2")
        routes.add_url_rule("", view_func=self.server)
        routes.add_url_rule("/health/live", view_func=self.live)
        routes.add_url_rule("/health/ready", view_func=self.ready)
        routes.add_url_rule("/repository/index", view_func=self.index, methods=["POST"])
        for path, which in ((_MODEL, "newest"), (_MODEL + PINNED, "version")):
            routes.add_url_rule(path, f"model_{which}", self.model)
            routes.add_url_rule(f"{path}/ready", f"ready_{which}", self.model_ready)
            routes.add_url_rule(f"{path}/config", f"config_{which}", self.config)
            routes.add_url_rule(f"{path}/stats", f"stats_{which}", self.stats)
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
            platform=PLATFORM,
            inputs=[_tensor(IMAGES_INPUT, BYTES, -1)],
            outputs=[_tensor(each, "FP32", -1, len(card.labels)) for each in OUTPUTS],
        )

    @documented(SHOW_CONFIG)
    def config(self, name: str, version: int | None = None) -> Response:
        """The same in the words of Triton's configuration."""
        budget = self.classifier.budget(request)
        model = ModelRef(self.classifier.catalog.find(name), version)
        card = self.classifier.catalog.describe(model, budget.left())
        row = len(card.labels)
        return jsonify(
            name=card.name,
            platform=PLATFORM,
            backend="tensorflow",
            max_batch_size=self.classifier.max_images,
            input=[{"name": IMAGES_INPUT, "data_type": "TYPE_STRING", "dims": [1]}],
            output=[
                {"name": each, "data_type": "TYPE_FP32", "dims": [row]}
                for each in OUTPUTS
            ],
        )

    @documented(SHOW_INDEX)
    def index(self) -> Response:
        """All models and versions with their states."""
        request.max_content_length = MAX_INDEX_BYTES
        body = request.get_data(cache=False)
        members = parse_body(body) if body else {}
        if not isinstance(members, dict):
            raise InvalidRequestError("the body is not a JSON object")
        check_members(members, ("repository_name", "ready"), "the body")
        catalog, budget = self.classifier.catalog, self.classifier.budget(request)
        entries = [
            {
                "name": name,
                "version": str(each.version),
                "state": STATES.get(each.state, "UNKNOWN"),
                "reason": each.problem or "",
            }
            for name in catalog.names()
            for each in catalog.versions(name, budget.left())
        ]
        only_ready = members.get("ready") is True
        ready = [each for each in entries if each["state"] == STATES[AVAILABLE]]
        return jsonify(ready if only_ready else entries)

    @documented(SHOW_STATS)
    def stats(self, name: str, version: int | None = None) -> Response:
        """How much each version has answered since the service was started."""
        catalog, budget = self.classifier.catalog, self.classifier.budget(request)
        model = catalog.find(name)
        counts = count_by_version(self.instruments, model)
        known = [each.version for each in catalog.versions(model, budget.left())]
        if version is not None and version not in known:
            message = f"model {model!r} has no version {version}: it has {known}"
            raise NotFoundError(message, code="version_not_found")
        asked = known if version is None else [version]
        return jsonify(
            model_stats=[
                {"name": model, "version": str(each), **counts[str(each)].to_json()}
                for each in asked
            ]
        )

    @documented(INFER)
    def infer(self, name: str, version: int | None = None) -> Response:
        """The model's outputs for the images of one request."""
        model = ModelRef(self.classifier.catalog.find(name), version)
        timeout = self.classifier.reception.receive(model)
        inference = read_inference(request, self.classifier.max_images)

        def accept(card: ModelCard) -> None:
            if inference.size and inference.size != card.image_size:
                sent, taken = inference.size, card.image_size
                message = (
                    f"images of {sent[0]} x {sent[1]} pixels (height x width), the model "
                    f"takes {taken[0]} x {taken[1]}: resize them, or send the files as "
                    "BYTES"
                )
                raise InvalidRequestError(message)

        outputs = self.classifier.classify(inference.images, model, timeout, accept)
        return inference.answer(outputs)

    def _probe_seconds(self) -> float:
        return min(self.classifier.budget(request).left(), PROBE_SECONDS)


def _tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}

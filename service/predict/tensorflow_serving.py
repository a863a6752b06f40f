"""TensorFlow Serving's REST paths: status, metadata and predict.

GET /v1/models/{name} is our own view; it holds the status too.
Row format: {"instances": [{"b64": TEXT} or {"images": {"b64": TEXT}}, ...]}.
Column format: {"inputs": [{"b64": TEXT}, ...]} or {"inputs": {"images": [...]}}.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

from flask import Blueprint, Request, Response, jsonify, request

from models.contract import (
    ENCODED_SIGNATURE,
    IMAGES_INPUT,
    LOGITS_OUTPUT,
    PROBABILITIES_OUTPUT,
    SERVING_SIGNATURE,
    ModelCard,
)
from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    NotFoundError,
    quoted,
    quoted_names,
)
from models.wire.messages import ModelRef
from service.http.parameters import PINNED
from service.predict.bodies import (
    JsonLimits,
    check_image_count,
    check_members,
    decode_base64,
    json_members,
)
from service.predict.catalog import model_version_status
from service.predict.views import ImageRequests, render_numbers

_MODEL: Final = "/v1/models/<word:name>"
_LABEL: Final = "/labels/<word:label>"

SIGNATURES: Final = (SERVING_SIGNATURE, ENCODED_SIGNATURE)
"""Either name is accepted: the images are decoded before the model server gets them."""

_ROWS: Final = "instances"
_COLUMNS: Final = "inputs"
_MEMBERS: Final = ("signature_name", _ROWS, _COLUMNS)


@dataclass(frozen=True)
class TensorFlowServingViews:
    """The views of TensorFlow Serving's REST API, and what they use."""

    requests: ImageRequests

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

    def status(self, name: str, **chosen: Any) -> Response:
        """The state of one version."""
        model, budget = self._model(name, chosen), self.requests.budget()
        catalog, version = self.requests.catalog, model.version
        if model.label is not None:
            version = catalog.describe(model, budget.left()).version
        versions = catalog.versions(name, budget.left())
        found = [each for each in versions if each.version == version]
        if not found:
            message = (
                f"model {model} is not known: GET /v1/models/{name} lists versions"
            )
            raise NotFoundError(message, code="version_not_found")
        return jsonify(model_version_status=model_version_status(found))

    def metadata(self, name: str, **chosen: Any) -> Response:
        """The signatures of one version, as this service takes them."""
        model, budget = self._model(name, chosen), self.requests.budget()
        card = self.requests.catalog.describe(model, budget.left())
        signatures = {signature: _signature(card) for signature in SIGNATURES}
        return jsonify(
            model_spec={
                "name": card.name,
                "signature_name": "",
                "version": str(card.version),
            },
            metadata={"signature_def": {"signature_def": signatures}},
        )

    def predict(self, name: str, **chosen: Any) -> Response:
        """The model's outputs for the images of one request."""
        model = self._model(name, chosen)
        timeout = self.requests.reception.receive(model)
        instances = read_instances(request, self.requests.max_images)
        outputs = self.requests.predict_all(instances.images, model, timeout)
        columns = {
            PROBABILITIES_OUTPUT: render_numbers(outputs.prediction.probabilities),
            LOGITS_OUTPUT: render_numbers(outputs.prediction.logits),
        }
        if instances.in_columns:
            return outputs.send(jsonify(outputs=columns))
        rows = zip(*columns.values(), strict=True)
        predictions = [dict(zip(columns, row, strict=True)) for row in rows]
        return outputs.send(jsonify(predictions=predictions))

    def _model(self, name: str, chosen: dict[str, Any]) -> ModelRef:
        return ModelRef(self.requests.catalog.find(name), **chosen)


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


@dataclass(frozen=True)
class Instances:
    """Encoded images, and whether they came in column format, which the answer has too."""

    images: list[bytes]
    in_columns: bool


def read_instances(request: Request, max_images: int) -> Instances:
    """The images in the body of *request*, whatever its Content-Type says.

    Raises:
        InvalidRequestError: no such JSON; the message names the member.
        InvalidImageError: a text is not base64; the message says which one.
        HTTPException: the body is above the application's limit.
    """
    # curl -d says that it sends a form, and TensorFlow Serving never looks.
    body = request.get_data(cache=False)
    with json_members(body, JsonLimits(max_images)) as members:
        del body
        check_members(members, _MEMBERS, "the body")
        _check_signature(members.get("signature_name"))
        if (_ROWS in members) == (_COLUMNS in members):
            raise InvalidRequestError(f"send one of {_ROWS!r} and {_COLUMNS!r}")
        in_columns = _COLUMNS in members
        where = _COLUMNS if in_columns else _ROWS
        images = members[where]
        if in_columns and isinstance(images, dict):
            images = _only_input(images, where)
        if not isinstance(images, list):
            raise InvalidRequestError(f'{where} is not a list: use [{{"b64": TEXT}}]')
        check_image_count(len(images), max_images)
        decoded = [_image(each, f"{where}[{n}]") for n, each in enumerate(images)]
        return Instances(decoded, in_columns)


def _check_signature(name: Any) -> None:
    if name in (None, "", *SIGNATURES):
        return
    message = f"signature_name={quoted(name)}: use one of {', '.join(SIGNATURES)}"
    raise InvalidRequestError(message, code="unknown_signature")


def _only_input(members: dict[str, Any], where: str) -> Any:
    if set(members) != {IMAGES_INPUT}:
        named = quoted_names(members)
        message = f"{where} holds {named}: the model's only input is {IMAGES_INPUT!r}"
        raise InvalidRequestError(message)
    return members[IMAGES_INPUT]


def _image(instance: Any, where: str) -> bytes:
    if isinstance(instance, dict) and "b64" not in instance:
        instance = _only_input(instance, where)
    if isinstance(instance, list):
        message = f'{where} is a list of pixels: send the encoded file, {{"b64": TEXT}}'
        raise InvalidRequestError(message)
    text = instance.get("b64") if isinstance(instance, dict) else None
    if not isinstance(text, str) or len(instance) != 1:
        raise InvalidRequestError(f'{where} is not {{"b64": TEXT}}: send base64')
    try:
        return decode_base64(text)
    except InvalidImageError as error:
        raise InvalidImageError(f"{where}: {error}", code=error.code) from error

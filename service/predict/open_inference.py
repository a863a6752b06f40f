"""The Open Inference Protocol, version 2: health, metadata and inference.

In its binary extension a header gives the length of the JSON, and tensors follow it as bytes.
The tensor that holds images is BYTES or UINT8. BYTES are encoded images: base64 in JSON, or
length and bytes in the binary extension. UINT8 are pixels [N, H, W, 3]: numbers in JSON, or
bytes as they are. Lists in JSON are flat or nested as the shape is.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from math import prod
from typing import Any, Final

import numpy as np
from flask import Blueprint, Request, Response, json, jsonify, request
from numpy.typing import NDArray

from models import VERSION
from models.contract import IMAGES_INPUT, LOGITS_OUTPUT, PROBABILITIES_OUTPUT, ModelCard
from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    ModelUnavailableError,
    NotFoundError,
    quoted,
)
from models.images.codec import encode_bmp
from models.wire.messages import AVAILABLE, ModelRef
from service.http.parameters import PINNED
from service.predict.bodies import (
    JsonLimits,
    check_image_count,
    check_members,
    check_name,
    decode_base64,
    json_members,
    parse_body,
)
from service.predict.catalog import PROBE_SECONDS, available_versions
from service.predict.views import ImageRequests, Outputs, render_numbers

PLATFORM: Final = "tensorflow_savedmodel"
TRITON_STATES: Final = {
    "START": "LOADING",
    "LOADING": "LOADING",
    AVAILABLE: "READY",
    "UNLOADING": "UNLOADING",
    "END": "UNAVAILABLE",
}
"""Triton's names for the states of TensorFlow Serving."""

MAX_INDEX_BYTES: Final = 64 * 1024
LENGTH_HEADER: Final = "Inference-Header-Content-Length"
OUTPUTS: Final = (PROBABILITIES_OUTPUT, LOGITS_OUTPUT)
MAX_NUMBERS: Final = 2_000_000
"""Pixels as JSON: 13 images of 224 x 224; more are cheaper in any other form."""

BYTES: Final = "BYTES"
UINT8: Final = "UINT8"
"""Datatypes of images."""

_MODEL: Final = "/models/<word:name>"
_MEMBERS: Final = ("id", "inputs", "outputs", "parameters")
_TENSOR_MEMBERS: Final = ("name", "datatype", "shape", "data", "parameters")
_OTHER_EXTENSIONS: Final = ("classification", "shared_memory_region")
"""Parameters of an output that would change its form; other parameters are ignored."""

_LENGTH: Final = struct.Struct("<I")


@dataclass(frozen=True)
class OpenInferenceViews:
    """The views of the Open Inference Protocol, and what they use.

    Attributes:
        answers_by_version: for a model's name: `images`, requests `succeeded` and `failed`.
    """

    requests: ImageRequests
    answers_by_version: Callable[[str], Mapping[str, Mapping[str, int]]]

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

    def server(self) -> Response:
        """The name, version and extensions of this server."""
        extensions = ["binary_tensor_data"]
        return jsonify(name="kennel", version=VERSION, extensions=extensions)

    def live(self) -> Response:
        """Liveness: the process answers."""
        return jsonify(live=True)

    def ready(self) -> Response:
        """Readiness: the default model can answer."""
        catalog = self.requests.catalog
        available_versions(catalog, catalog.default_name(), self._probe_seconds())
        return jsonify(ready=True)

    def model_ready(self, name: str, version: int | None = None) -> Response:
        """Readiness of one model or version."""
        catalog = self.requests.catalog
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

    def model(self, name: str, version: int | None = None) -> Response:
        """The tensors of one model, as this service takes them."""
        catalog, budget = self.requests.catalog, self.requests.budget()
        model = ModelRef(catalog.find(name), version)
        card = catalog.describe(model, budget.left())
        available = available_versions(catalog, card.name, budget.left())
        return jsonify(
            name=card.name,
            versions=[str(each) for each in available],
            platform=PLATFORM,
            inputs=[_describe_tensor(IMAGES_INPUT, BYTES, -1)],
            outputs=[
                _describe_tensor(each, "FP32", -1, len(card.labels)) for each in OUTPUTS
            ],
        )

    def config(self, name: str, version: int | None = None) -> Response:
        """The tensors of one model in the form of Triton's configuration."""
        budget = self.requests.budget()
        model = ModelRef(self.requests.catalog.find(name), version)
        card = self.requests.catalog.describe(model, budget.left())
        row = len(card.labels)
        return jsonify(
            name=card.name,
            platform=PLATFORM,
            backend="tensorflow",
            max_batch_size=self.requests.max_images,
            input=[{"name": IMAGES_INPUT, "data_type": "TYPE_STRING", "dims": [1]}],
            output=[
                {"name": each, "data_type": "TYPE_FP32", "dims": [row]}
                for each in OUTPUTS
            ],
        )

    def index(self) -> Response:
        """All models and versions with their states."""
        request.max_content_length = MAX_INDEX_BYTES
        body = request.get_data(cache=False)
        members = parse_body(body) if body else {}
        if not isinstance(members, dict):
            raise InvalidRequestError("the body is not a JSON object")
        check_members(members, ("repository_name", "ready"), "the body")
        only_ready, name = (
            members.get("ready", False),
            members.get("repository_name", ""),
        )
        if not isinstance(only_ready, bool) or not isinstance(name, str):
            message = "repository_name has to be a text, and ready true or false"
            raise InvalidRequestError(message)
        catalog, budget = self.requests.catalog, self.requests.budget()
        entries = [
            {
                "name": name,
                "version": str(each.version),
                "state": TRITON_STATES.get(each.state, "UNKNOWN"),
                "reason": each.problem or "",
            }
            for name in catalog.names()
            for each in catalog.versions(name, budget.left())
        ]
        ready = [each for each in entries if each["state"] == TRITON_STATES[AVAILABLE]]
        return jsonify(ready if only_ready else entries)

    def stats(self, name: str, version: int | None = None) -> Response:
        """How much each version has answered since the service was started."""
        catalog, budget = self.requests.catalog, self.requests.budget()
        model = catalog.find(name)
        counts = self.answers_by_version(model)
        known = [each.version for each in catalog.versions(model, budget.left())]
        if version is not None and version not in known:
            message = f"model {model!r} has no version {version}: it has {known}"
            raise NotFoundError(message, code="version_not_found")
        asked = known if version is None else [version]
        return jsonify(
            model_stats=[
                {"name": model, "version": str(each), **_statistics(counts[str(each)])}
                for each in asked
            ]
        )

    def infer(self, name: str, version: int | None = None) -> Response:
        """The model's outputs for the images of one request."""
        model = ModelRef(self.requests.catalog.find(name), version)
        timeout = self.requests.reception.receive(model)
        inference = read_inference(request, self.requests.max_images)

        def accept(card: ModelCard) -> None:
            if inference.size and inference.size != card.image_size:
                sent, taken = inference.size, card.image_size
                message = (
                    f"images of {sent[0]} x {sent[1]} pixels (height x width), the model "
                    f"takes {taken[0]} x {taken[1]}: resize them, or send the files as "
                    "BYTES"
                )
                raise InvalidRequestError(message)

        outputs = self.requests.predict_all(inference.images, model, timeout, accept)
        return inference.answer(outputs)

    def _probe_seconds(self) -> float:
        return min(self.requests.budget().left(), PROBE_SECONDS)


def _describe_tensor(name: str, datatype: str, *shape: int) -> dict[str, Any]:
    return {"name": name, "datatype": datatype, "shape": list(shape)}


@dataclass(frozen=True)
class Inference:
    """A request for inference; *outputs*: by name, whether it is sent as bytes."""

    id: str | None
    images: list[bytes]
    size: tuple[int, int] | None
    outputs: dict[str, bool]

    def answer(self, outputs: Outputs) -> Response:
        """*outputs* in the form that the request names."""
        values = {
            PROBABILITIES_OUTPUT: outputs.prediction.probabilities,
            LOGITS_OUTPUT: outputs.prediction.logits,
        }
        tensors = [
            _tensor(name, values[name], binary) for name, binary in self.outputs.items()
        ]
        members = {
            "model_name": outputs.card.name,
            "model_version": str(outputs.card.version),
            **({} if self.id is None else {"id": self.id}),
            "outputs": tensors,
        }
        packed = [values[name].tobytes() for name, yes in self.outputs.items() if yes]
        if not packed:
            return outputs.send(jsonify(members))
        head = json.dumps(members).encode()
        response = Response(
            b"".join([head, *packed]), mimetype="application/octet-stream"
        )
        response.headers[LENGTH_HEADER] = str(len(head))
        return outputs.send(response)


def read_inference(request: Request, max_images: int) -> Inference:
    """The inference in the body of *request*, whatever its Content-Type says.

    Raises:
        InvalidRequestError: it cannot be read; the message names the member.
        InvalidImageError: a text is not base64; the message says which one.
        HTTPException: the body is above the application's limit.
    """
    body = request.get_data(cache=False)
    length = _json_length(request, len(body))
    limits = JsonLimits(max_images, MAX_NUMBERS)
    with json_members(body[:length], limits) as members:
        check_members(members, _MEMBERS, "the body")
        tensor = _only_input(members.get("inputs"), body[length:])
        check_image_count(tensor.count(), max_images)
        id_ = members.get("id")
        if id_ is not None and not isinstance(id_, str):
            raise InvalidRequestError(f"id={quoted(id_)} is not a text")
        check_name(id_ or "", "id")
        return Inference(id_, tensor.images(), tensor.size(), _wanted(members))


def _json_length(request: Request, total: int) -> int:
    text = request.headers.get(LENGTH_HEADER)
    if text is None:
        return total
    if not (text.isascii() and text.isdigit()) or len(text) > 12 or int(text) > total:
        message = (
            f"{LENGTH_HEADER}: {quoted(text)} is not a length within {total} bytes"
        )
        raise InvalidRequestError(message)
    return int(text)


def _only_input(inputs: Any, binary: bytes) -> Tensor:
    tensor = inputs[0] if isinstance(inputs, list) and len(inputs) == 1 else None
    if not isinstance(tensor, dict) or tensor.get("name") != IMAGES_INPUT:
        message = f"inputs: send one tensor, its name is {IMAGES_INPUT!r}"
        raise InvalidRequestError(message)
    check_members(tensor, _TENSOR_MEMBERS, "inputs[0]")
    size = _parameters(tensor, "inputs[0]").get("binary_data_size")
    if size is not None and (size != len(binary) or "data" in tensor):
        message = (
            f"inputs[0]: binary_data_size={quoted(size)}, and {len(binary)} bytes "
            "follow the JSON: they are the tensor, and data is left out"
        )
        raise InvalidRequestError(message)
    packed = binary if size is not None else None
    return Tensor(
        tensor.get("datatype"), tensor.get("shape"), tensor.get("data"), packed
    )


def _wanted(members: dict[str, Any]) -> dict[str, bool]:
    usual = _parameters(members, "the body").get("binary_data_output") is True
    asked = members.get("outputs") or [{"name": name} for name in OUTPUTS]
    objects = isinstance(asked, list) and all(isinstance(each, dict) for each in asked)
    names = [each.get("name") for each in asked] if objects else []
    known = [name for name in names if name in OUTPUTS]
    if not known or len(set(known)) != len(asked):
        message = f'outputs: choose from {", ".join(OUTPUTS)} ([{{"name": NAME}}])'
        raise InvalidRequestError(message)
    wanted = {each["name"]: _parameters(each, "outputs") for each in asked}
    for parameter in _OTHER_EXTENSIONS:
        if any(parameter in parameters for parameters in wanted.values()):
            message = f"outputs: the extension {parameter} is not supported here: leave it out"
            raise InvalidRequestError(message)
    return {
        name: parameters.get("binary_data", usual) is True
        for name, parameters in wanted.items()
    }


def _parameters(members: dict[str, Any], where: str) -> dict[str, Any]:
    parameters = members.get("parameters")
    if not isinstance(parameters, dict | None):
        raise InvalidRequestError(f"parameters of {where} are not an object")
    return parameters or {}


def _tensor(name: str, values: NDArray[np.float32], binary: bool) -> dict[str, Any]:
    tensor = {"name": name, "datatype": "FP32", "shape": list(values.shape)}
    if binary:
        return {**tensor, "parameters": {"binary_data_size": values.nbytes}}
    return {**tensor, "data": render_numbers(values.ravel())}


def _statistics(counts: Mapping[str, int]) -> dict[str, Any]:
    return {
        "inference_count": counts["images"],
        "inference_stats": {
            "success": {"count": counts["succeeded"]},
            "fail": {"count": counts["failed"]},
        },
    }


@dataclass(frozen=True)
class Tensor:
    """A tensor as it was sent: *binary* bytes, or else *data* out of the JSON."""

    datatype: Any
    shape: Any
    data: Any = None
    binary: bytes | None = None

    def count(self) -> int:
        """The number of images, by the tensor's shape.

        Raises:
            InvalidRequestError: its datatype or shape is not supported.
        """
        shape = self.shape
        whole = isinstance(shape, list) and all(type(each) is int for each in shape)
        if whole and self.datatype == BYTES and shape[1:] in ([], [1]) and shape:
            return int(shape[0])
        if whole and self.datatype == UINT8 and len(shape) == 4 and shape[3] == 3:
            return int(shape[0])
        message = (
            f"images: datatype {quoted(self.datatype)} of shape {quoted(shape)} is not "
            "read: send BYTES [N] (encoded images) or UINT8 [N, H, W, 3] (RGB)"
        )
        raise InvalidRequestError(message)

    def size(self) -> tuple[int, int] | None:
        """Height and width of the pixels; None for encoded images."""
        return None if self.datatype == BYTES else (self.shape[1], self.shape[2])

    def images(self) -> list[bytes]:
        """The encoded images, as many as the shape says.

        Raises:
            InvalidRequestError: its data do not fit its shape.
            InvalidImageError: a text is not base64; the message says which one.
        """
        images = list(self._pixels() if self.datatype == UINT8 else self._encoded())
        if len(images) != self.count():
            count = quoted(self.count())
            message = f"images: {len(images)} in the data, {count} in the shape"
            raise InvalidRequestError(message)
        return images

    def _encoded(self) -> Iterator[bytes]:
        if self.binary is not None:
            yield from _split(self.binary)
            return
        for number, text in enumerate(_flat(self.data, self.shape)):
            if not isinstance(text, str):
                message = f"images: data[{number}] is not a text: send base64"
                raise InvalidRequestError(message)
            try:
                yield decode_base64(text)
            except InvalidImageError as error:
                message = f"images: data[{number}]: {error}"
                raise InvalidImageError(message, code=error.code) from error

    def _pixels(self) -> Iterator[bytes]:
        flat = self.binary
        if flat is None:
            flat = _bytes_of(_flat(self.data, self.shape))
        if min(self.shape) < 1 or prod(self.shape) != len(flat):
            message = f"images: {len(flat):,} values for the shape {quoted(self.shape)}"
            raise InvalidRequestError(message)
        # BMP decodes to exactly these pixels, so all images take the same way.
        for pixels in np.frombuffer(flat, np.uint8).reshape(self.shape):
            yield encode_bmp(pixels)


def _flat(data: Any, shape: list[int]) -> list[Any]:
    if not isinstance(data, list):
        raise InvalidRequestError("images: data is not a list")
    if not any(isinstance(each, list) for each in data):
        return data
    level: list[Any] = [data]
    for depth, size in enumerate(shape):
        for number, each in enumerate(level):
            if not isinstance(each, list) or len(each) != size:
                raise _ragged(each, number, shape, depth)
        level = [inner for each in level for inner in each]
    return level


def _ragged(
    found: Any, number: int, shape: list[int], depth: int
) -> InvalidRequestError:
    where = ""
    for size in reversed(shape[:depth]):
        number, index = divmod(number, size)
        where = f"[{index}]{where}"
    what = f"{len(found)} entries" if isinstance(found, list) else quoted(found)
    return InvalidRequestError(
        f"images: data{where} is {what}, not a list of {quoted(shape[depth])}: nest data "
        f"exactly as its shape {quoted(shape)}, or send one flat list, row by row"
    )


def _bytes_of(numbers: list[Any]) -> bytes:
    try:
        return bytes(numbers)
    except (TypeError, ValueError) as error:
        message = "images: data of UINT8 is whole numbers from 0 to 255"
        raise InvalidRequestError(message) from error


def _split(packed: bytes) -> Iterator[bytes]:
    start = 0
    while start < len(packed):
        end = start + _LENGTH.size
        if end > len(packed):
            raise InvalidRequestError("images: the last length is cut off")
        [length] = _LENGTH.unpack(packed[start:end])
        start, end = end, end + length
        if end > len(packed):
            raise InvalidRequestError("images: the last image is cut off")
        yield packed[start:end]
        start = end

"""A request and an answer of the Open Inference Protocol, with its binary extension.

In the extension a header tells how long the JSON is, and tensors follow it as bytes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from flask import Request, Response, json, jsonify
from numpy.typing import NDArray

from models.contract import IMAGES_INPUT, LOGITS_OUTPUT, PROBABILITIES_OUTPUT
from models.errors import InvalidRequestError, quoted
from service.compatible.classifier import Outputs, numbers
from service.compatible.tensors import Tensor
from service.predictions.json_body import JsonLimits, check_members, json_members
from service.predictions.uploads import check_image_count, check_name

LENGTH_HEADER: Final = "Inference-Header-Content-Length"
OUTPUTS: Final = (PROBABILITIES_OUTPUT, LOGITS_OUTPUT)
MAX_NUMBERS: Final = 2_000_000
"""Pixels as JSON: 13 images of 224 x 224; more are cheaper in any other form."""

_MEMBERS: Final = ("id", "inputs", "outputs", "parameters")
_OTHER_EXTENSIONS: Final = ("classification", "shared_memory_region")
"""Parameters of an output that ask for another answer; other parameters are ignored."""
_TENSOR_MEMBERS: Final = ("name", "datatype", "shape", "data", "parameters")


@dataclass(frozen=True)
class Inference:
    """What a client wants: *outputs* by name, and whether as bytes."""

    id: str | None
    images: list[bytes]
    size: tuple[int, int] | None
    outputs: dict[str, bool]

    def answer(self, outputs: Outputs) -> Response:
        """*outputs* in the form that was asked for."""
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
    """What the body of *request* asks, whatever its Content-Type says.

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
            message = (
                f"outputs: {parameter} is an extension that there is not: leave it out"
            )
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
    return {**tensor, "data": numbers(values.ravel())}

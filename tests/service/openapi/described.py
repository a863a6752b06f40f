"""The API's document for tests: its operations; answers checked by its schemas."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from jsonschema_rs import Draft202012Validator
from werkzeug.wrappers import Response

METHODS = ("get", "post", "put", "patch", "delete")


def resolved(document: dict[str, Any], part: dict[str, Any]) -> dict[str, Any]:
    """*part* itself, or what it refers to."""
    while "$ref" in part:
        found: Any = document
        for name in part["$ref"].removeprefix("#/").split("/"):
            found = found[name]
        part = found
    return part


@dataclass(frozen=True)
class Operation:
    """One method of one path."""

    document: dict[str, Any]
    path: str
    method: str
    members: dict[str, Any]

    @property
    def id(self) -> str:
        return str(self.members["operationId"])

    def parameters(self, place: str) -> dict[str, dict[str, Any]]:
        """By name, those in *place*: path, query or header."""
        listed = [
            *self.document["paths"][self.path].get("parameters", []),
            *self.members.get("parameters", []),
        ]
        parts = [resolved(self.document, each) for each in listed]
        return {each["name"]: each for each in parts if each["in"] == place}

    def body(self) -> dict[str, Any]:
        """The forms of the request's body, by media type."""
        described = resolved(self.document, self.members.get("requestBody", {}))
        content: dict[str, Any] = described.get("content", {})
        return content

    def responses(self) -> dict[int, dict[str, Any]]:
        return {
            int(status): resolved(self.document, each)
            for status, each in self.members["responses"].items()
        }


def operations(document: dict[str, Any]) -> list[Operation]:
    return [
        Operation(document, path, method, item[method])
        for path, item in document["paths"].items()
        for method in METHODS
        if method in item
    ]


def problem_codes(response: dict[str, Any]) -> list[str]:
    """The codes that an error answer may have; none where it is no error."""
    problem = response.get("content", {}).get("application/problem+json")
    if problem is None:
        return []
    codes: list[str] = problem["schema"]["allOf"][1]["properties"]["code"]["enum"]
    return codes


def check(document: dict[str, Any], schema: dict[str, Any], value: Any) -> None:
    """Hold *value* against *schema*, where objects may have no other members.

    Raises:
        ValidationError: it does not fit.
    """
    components = {"schemas": dict(_closed(document["components"]["schemas"]))}
    Draft202012Validator({**schema, "components": components}).validate(value)


def check_answer(document: dict[str, Any], id_: str, response: Response) -> None:
    """Hold *response* against what the document says of operation *id_*."""
    operation = next(each for each in operations(document) if each.id == id_)
    described = operation.responses()[response.status_code]
    headers = {
        name: resolved(document, each) for name, each in described["headers"].items()
    }
    assert {n for n, each in headers.items() if each.get("required")} <= {
        *response.headers.keys()
    }
    content = described.get("content", {})
    assert (response.mimetype in content) == bool(response.data)
    if response.is_json:
        check(document, content[response.mimetype]["schema"], response.get_json())


def _closed(schemas: dict[str, Any]) -> Iterator[tuple[str, Any]]:
    for name, schema in schemas.items():
        if "properties" in schema:
            schema = {"additionalProperties": False, **schema}
        yield name, schema

"""How an operation is described, and how its description reaches flask-smorest.

flask-smorest documents here and does nothing else: requests are read by our own code,
which is stricter and whose messages name the remedy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any, Final, ParamSpec, TypeVar, cast

from flask_smorest import Blueprint
from marshmallow import Schema

from service.documents.codes import by_status
from service.documents.problem import ProblemSchema
from service.http.problems import RETRY_AFTER_SECONDS

JSON: Final = "application/json"
PROBLEM: Final = "application/problem+json"

EVERYWHERE: Final = ("internal", "request_timeout")
"""Codes that any operation may answer."""
PROTECTED: Final = (
    *("unauthenticated", "forbidden"),
    *("misdirected_request", "rate_limited"),
)
"""Codes of whatever may need a key."""
_PARAMETERS: Final = ("X-Request-ID", "traceparent")
_HEADERS: Final = ("X-Request-ID",)

_Given = ParamSpec("_Given")
_Answered = TypeVar("_Answered")


@dataclass(frozen=True)
class Content:
    """One form of a body.

    Attributes:
        schema: a marshmallow class, or a schema as OpenAPI writes it.
        example: None for what JSON cannot show.
    """

    schema: type[Schema] | dict[str, Any]
    media_type: str = JSON
    example: Any = None

    def render(self) -> dict[str, Any]:
        """By media type, as OpenAPI writes it."""
        example = {} if self.example is None else {"example": self.example}
        return {self.media_type: {"schema": self.schema, **example}}


@dataclass(frozen=True)
class Answer:
    """An answer that is no error; *headers* are names of components."""

    description: str
    contents: tuple[Content, ...] = ()
    status: int = 200
    headers: tuple[str, ...] = ()

    def render(self) -> dict[str, Any]:
        """As OpenAPI writes it."""
        return {
            "description": self.description,
            "headers": _named((*_HEADERS, *self.headers)),
            **_contents(self.contents),
        }


@dataclass(frozen=True)
class Operation:
    """One method of one path.

    Attributes:
        parameters: names of components; those in the path are found by themselves.
        bodies: the forms that the request's body may have.
        errors: codes of service/documents/codes.py.
        keyless: no key is ever asked for.
    """

    summary: str
    answers: tuple[Answer, ...]
    description: str = ""
    parameters: tuple[str, ...] = ()
    bodies: tuple[Content, ...] = ()
    errors: tuple[str, ...] = ()
    keyless: bool = False

    def render(self) -> dict[str, Any]:
        """As OpenAPI writes it."""
        errors = (*self.errors, *EVERYWHERE, *(() if self.keyless else PROTECTED))
        body = {"requestBody": {"required": True, **_contents(self.bodies)}}
        return {
            "summary": self.summary,
            "description": self.description,
            "parameters": [*self.parameters, *_PARAMETERS],
            **(body if self.bodies else {}),
            **({"security": [{}]} if self.keyless else {}),
            "responses": {
                **{str(each.status): each.render() for each in self.answers},
                **_problems(errors),
            },
        }


def documented(
    operation: Operation,
) -> Callable[[Callable[_Given, _Answered]], Callable[_Given, _Answered]]:
    """Describe a view as *operation*; what it does stays as it is."""

    def describe(view: Callable[_Given, _Answered]) -> Callable[_Given, _Answered]:
        described = Blueprint.doc(**operation.render())(view)
        return cast("Callable[_Given, _Answered]", described)

    return describe


def _problems(codes: tuple[str, ...]) -> dict[str, Any]:
    return {
        str(status): _problem(status, listed)
        for status, listed in by_status(codes).items()
    }


def _problem(status: int, codes: list[str]) -> dict[str, Any]:
    only = {"type": "object", "properties": {"code": {"enum": codes}}}
    retry = ("Retry-After",) if status in RETRY_AFTER_SECONDS else ()
    content = {
        "schema": {"allOf": [ProblemSchema, only]},
        "examples": {code: code for code in codes},
    }
    return {
        "description": HTTPStatus(status).phrase,
        "headers": _named((*_HEADERS, *retry)),
        "content": {PROBLEM: content},
    }


def _contents(contents: tuple[Content, ...]) -> dict[str, Any]:
    if not contents:
        return {}
    rendered: dict[str, Any] = {}
    for content in contents:
        rendered.update(content.render())
    return {"content": rendered}


def _named(names: tuple[str, ...]) -> dict[str, str]:
    return {name: name for name in names}

"""The document itself: flask-smorest collects what the blueprints describe.

Register problem+json after it: its own error answers must not replace ours.
"""

from __future__ import annotations

from typing import Any, Final

from apispec import BasePlugin
from flask import Flask
from flask_smorest import Api

from models import VERSION
from service.documents import codes
from service.documents.parameters import HEADERS, PARAMETERS, PATHS
from service.http.parameters import WordConverter, describe_word

OPENAPI_VERSION: Final = "3.1.0"

_DESCRIPTION: Final = """Photos in, calibrated and clipped class probabilities out;
folders in, a CSV out. Errors are `application/problem+json` (RFC 9457); programs look
at their `code`: the schema `Problem` lists them all.
"""
_SECURITY: Final = {
    "bearer": {"type": "http", "scheme": "bearer"},
    "key": {"type": "apiKey", "in": "header", "name": "X-API-Key"},
}


class _Routes(BasePlugin):
    """What a route alone can tell: its operations' ids, the parts of its path."""

    def path_helper(
        self,
        path: str | None = None,
        operations: dict[str, Any] | None = None,
        parameters: list[dict[str, Any]] | None = None,
        **given: Any,
    ) -> None:
        for part in parameters or ():
            part["description"] = PATHS[part["name"]]
        # Every route has an endpoint of its own, so the ids are unique.
        for operation in (operations or {}).values():
            operation["operationId"] = given["rule"].endpoint.replace(".", "_")


def open_document(app: Flask) -> Api:
    """The document of *app*, empty: blueprints that are registered with it fill it."""
    app.config.update(
        API_TITLE="Kennel",
        API_VERSION=VERSION,
        OPENAPI_VERSION=OPENAPI_VERSION,
    )
    options = {
        "info": {"description": _DESCRIPTION},
        # The empty one: a service without keys is open.
        "security": [{}, {"bearer": []}, {"key": []}],
        "extra_plugins": [_Routes()],
    }
    api = Api(app, spec_kwargs=options)
    # Operations list their errors, and flask-smorest's form of them is not ours.
    api.DEFAULT_ERROR_RESPONSE_NAME = None
    api.spec.components.schemas.clear()
    api.register_converter(WordConverter, describe_word)
    _add_components(api.spec.components)
    return api


def _add_components(components: Any) -> None:
    for name, parameter in PARAMETERS.items():
        components.parameter(name, parameter["in"], parameter, lazy=True)
    for name, header in HEADERS.items():
        components.header(name, header, lazy=True)
    for code in codes.CODES:
        components.example(code, {"value": codes.example(code)}, lazy=True)
    for name, scheme in _SECURITY.items():
        components.security_scheme(name, scheme)

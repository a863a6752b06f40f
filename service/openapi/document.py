"""GET /openapi.json and GET /docs: openapi.yaml as JSON, and as a page that works offline.

The page is Swagger UI from the package flask-swagger-ui. It holds no script or style of
its own, so that it works under a strict Content-Security-Policy.
"""

from __future__ import annotations

from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

import yaml
from flask import Blueprint, Response, json, request, send_from_directory

from models import VERSION

_FOLDER: Final = Path(__file__).parent
_SWAGGER: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")


def document_routes() -> Blueprint:
    """The routes of the document and its page; reads openapi.yaml at once."""
    _document_json()
    routes = Blueprint("openapi", __name__)
    routes.add_url_rule("/openapi.json", view_func=document)
    routes.add_url_rule("/docs", view_func=page)
    routes.add_url_rule("/docs/<file>", view_func=static)
    return routes


def document() -> Response:
    """The document as JSON."""
    response = Response(_document_json(), mimetype="application/json")
    response.add_etag()
    response.headers["Cache-Control"] = "no-cache"
    response.make_conditional(request)
    return response


def page() -> Response:
    """The page that shows the document."""
    return send_from_directory(_FOLDER / "static", "docs.html")


def static(file: str) -> Response:
    """A script, style or picture of the page."""
    if file in _SWAGGER:
        swagger = Path(str(files("flask_swagger_ui"))) / "dist"
        return send_from_directory(swagger, file)
    return send_from_directory(_FOLDER / "static", file)


def read_document() -> dict[str, Any]:
    """The document as it is served: with the version of Kennel, without `x-` members."""
    text = (_FOLDER / "openapi.yaml").read_text()
    members: dict[str, Any] = yaml.load(text, yaml.CSafeLoader)
    members["info"]["version"] = VERSION
    return {name: each for name, each in members.items() if not name.startswith("x-")}


@cache
def _document_json() -> str:
    return json.dumps(read_document())

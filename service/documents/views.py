"""GET /openapi.json, and GET /docs: the document to read and to try out, offline.

The page is Swagger UI from the package flask-swagger-ui. It holds no script or style of
its own, so that it works under a strict Content-Security-Policy.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from flask import Blueprint, Response, json, request, send_from_directory

_OURS: Final = Path(__file__).with_name("static")
_SWAGGER: Final = ("swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png")


@dataclass(frozen=True)
class DocumentViews:
    """The views of the document that *document* gives when all routes are there."""

    document: Callable[[], dict[str, Any]]

    def blueprint(self) -> Blueprint:
        """The routes."""
        routes = Blueprint("documents", __name__)
        routes.add_url_rule("/openapi.json", "openapi", _written_once(self.document))
        routes.add_url_rule("/docs", view_func=self.page)
        routes.add_url_rule("/docs/<file>", view_func=self.static)
        return routes

    def page(self) -> Response:
        """The page that shows the document."""
        return send_from_directory(_OURS, "docs.html")

    def static(self, file: str) -> Response:
        """A script, style or picture of the page."""
        if file in _SWAGGER:
            return send_from_directory(_swagger_folder(), file)
        return send_from_directory(_OURS, file)


def _written_once(document: Callable[[], dict[str, Any]]) -> Callable[[], Response]:
    @cache
    def text() -> str:
        return json.dumps(document())

    def answer() -> Response:
        response = Response(text(), mimetype="application/json")
        response.add_etag()
        response.headers["Cache-Control"] = "no-cache"
        response.make_conditional(request)
        return response

    return answer


@cache
def _swagger_folder() -> Path:
    return Path(str(files("flask_swagger_ui"))) / "dist"

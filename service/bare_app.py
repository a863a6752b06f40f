"""Flask as the service wants it, before anything is registered with it."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from service.routing import register_converters
from service.settings import ServiceSettings
from service.upload_request import UploadRequest

_SPARE_PARTS: Final = 16
"""Form parts beyond the images: enough to say which field is wrong."""


def bare_app(settings: ServiceSettings) -> Flask:
    """An application without a view or a hook, within the bounds of *settings*."""
    app = _ThreadedFlask(__name__, static_folder=None)
    app.request_class = UploadRequest
    app.json = _OrderedJSON(app)
    register_converters(app)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_request_bytes,
        # Twice the images: one too many should be told from a flood of parts.
        MAX_FORM_PARTS=2 * settings.max_images + _SPARE_PARTS,
    )
    return app


class _ThreadedFlask(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        # No view or hook here is a coroutine; to ask each costs 15 us a request.
        return func


class _OrderedJSON(DefaultJSONProvider):
    # Labels stay in the card's order.
    sort_keys = False

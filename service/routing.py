"""What a name in a path may hold; a colon after it begins a verb (:predict)."""

from __future__ import annotations

from typing import Any, Final

from flask import Flask
from werkzeug.routing import BaseConverter

WORD: Final = "[A-Za-z0-9._-]{1,64}"
PINNED: Final = "/versions/<int(min=1, max=999999999999999999):version>"
"""The part of a path that pins a version: 64 bits on the wire."""


class WordConverter(BaseConverter):
    """``<word:name>``: names of models and labels of versions."""

    regex = WORD


def register_converters(app: Flask) -> None:
    """Let the routes of *app* use ``word``."""
    app.url_map.converters["word"] = WordConverter


def describe_word(_: WordConverter) -> dict[str, Any]:
    """The converter as OpenAPI writes it."""
    return {"type": "string", "pattern": f"^{WORD}$"}

"""Parameters of a request: names in its path, members of its query or form.

A member that would be overlooked is refused. A colon after a name in a path begins a verb
(:predict).
"""

from __future__ import annotations

from typing import Final

from flask import Flask
from werkzeug.datastructures import MultiDict
from werkzeug.routing import BaseConverter

from models.errors import InvalidRequestError, quoted

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})

WORD: Final = "[A-Za-z0-9._-]{1,64}"
PINNED: Final = "/versions/<int(min=1, max=999999999999999999):version>"
"""The part of a path that pins a version: 64 bits on the wire."""


class WordConverter(BaseConverter):
    """``<word:name>``: names of models and labels of versions."""

    regex = WORD


def register_converters(app: Flask) -> None:
    """Let the routes of *app* use ``word``."""
    app.url_map.converters["word"] = WordConverter


def once_each(
    given: MultiDict[str, str], known: tuple[str, ...] | None = None
) -> dict[str, str]:
    """The members of *given*, a query or form, each once.

    Raises:
        InvalidRequestError: a member is there twice, or is not one of *known*.
    """
    for name, values in given.lists():
        if known is not None and name not in known:
            names = ", ".join(known)
            raise InvalidRequestError(
                f"unknown parameter {quoted(name)}: known are {names}"
            )
        if len(values) > 1:
            raise InvalidRequestError(f"{quoted(name)} is there twice: send it once")
    return given.to_dict()

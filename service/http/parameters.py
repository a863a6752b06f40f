"""Methods, paths and parameters of requests, as routes and views read them.

A parameter that no view reads is refused, so that a mistyped one is not ignored. A name in a
path has no colon: that begins a verb (:predict).
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final

from flask import Flask
from werkzeug.datastructures import MultiDict
from werkzeug.routing import BaseConverter

from models.errors import InvalidRequestError, quoted

SAFE_METHODS: Final = frozenset({"GET", "HEAD", "OPTIONS"})
"""Methods that change nothing (RFC 9110)."""

PROBE_PATHS: Final = frozenset({"/livez", "/readyz", "/metrics"})
"""Paths that monitoring requests every few seconds."""

WORD: Final = "[A-Za-z0-9._-]{1,64}"
"""The name of a model, or a version's label."""

PINNED: Final = "/versions/<int(min=1, max=999999999999999999):version>"
"""The part of a path that pins a version: 64 bits on the wire."""

_POSITIVE: Final = re.compile(r"[1-9][0-9]{0,17}")


def register_converters(app: Flask) -> None:
    """Let the routes of *app* use ``<word:name>``."""
    app.url_map.converters["word"] = _WordConverter


class _WordConverter(BaseConverter):
    regex = WORD


def once_each(
    given: MultiDict[str, str], known: tuple[str, ...] | None = None
) -> dict[str, str]:
    """The parameters of *given*, a query or form, each of which may be there once.

    Raises:
        InvalidRequestError: a parameter is there twice, or is not one of *known*.
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


def read_positive(query: Mapping[str, str], name: str) -> int | None:
    """The whole number above 0 in the parameter *name*; None if it is missing.

    Raises:
        InvalidRequestError: it is another value.
    """
    text = query.get(name)
    if text is None:
        return None
    if not _POSITIVE.fullmatch(text):
        message = f"{name}={quoted(text)} is not a positive whole number"
        raise InvalidRequestError(message)
    return int(text)

"""Takes what is left of a request's body off the line, after an error was answered.

A client that still sends a large photo when the connection is closed sees a reset
connection instead of the answer. gunicorn by itself reads 64 KiB and then closes.
"""

from __future__ import annotations

import time
from functools import partial
from typing import Final

from flask import Flask, Request, Response, request
from werkzeug.exceptions import HTTPException

from models.errors import KennelError

_CHUNK_BYTES: Final = 64 * 1024
_MAX_SECONDS: Final = 2.0
"""A thread has better things to do than to listen to a slow sender any longer."""


def register_unread(app: Flask) -> None:
    """After an error of *app* is sent, read the body that nobody wanted."""
    app.after_request(_read_on_close)


def _read_on_close(response: Response) -> Response:
    if response.status_code >= 400:
        # The request itself: its proxy is gone by the time the answer is sent.
        unread = request._get_current_object()  # type: ignore[attr-defined]
        response.call_on_close(partial(_discard, unread))
    return response


def _discard(unread: Request) -> None:
    deadline = time.monotonic() + _MAX_SECONDS
    try:
        while unread.stream.read(_CHUNK_BYTES) and time.monotonic() < deadline:
            pass
    except (OSError, ValueError, HTTPException, KennelError):
        # The sender has gone, or sends more than we would ever have read.
        return

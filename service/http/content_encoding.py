"""Content-Encoding: compressed bodies are decoded as they are read, before they are counted.

All later code sees decoded bodies, so MAX_REQUEST_BYTES, the bound on the bodies in memory and
all other limits hold for decoded bytes: a small body that decodes to many gigabytes is refused
when it has reached its limit.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterable
from typing import IO, TYPE_CHECKING, Any, Final

from flask import Flask
from werkzeug.wsgi import get_input_stream

from models.errors import InvalidRequestError
from service.http.errors import BAD_REQUEST, ContentEncodingError

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment

_GZIP: Final = ("gzip", "x-gzip")
_DEFLATE: Final = "deflate"
_NONE: Final = ("", "identity")

_GZIP_BITS: Final = 16 + zlib.MAX_WBITS
_PIECE_BYTES: Final = 64 * 1024
_SPARE_BYTES: Final = 1024 * 1024
"""Compressed bytes allowed beyond twice the decoded size: empty blocks could go on for ever."""


def register_content_encoding(app: Flask) -> None:
    """Decode the bodies of *app*; called after the concurrency limit, so that this counts them."""
    inner = app.wsgi_app

    def decode(
        environ: WSGIEnvironment, start_response: StartResponse
    ) -> Iterable[bytes]:
        if "HTTP_CONTENT_ENCODING" in environ:
            _decode_body(environ)
        return inner(environ, start_response)

    app.wsgi_app = decode  # type: ignore[method-assign]


def _decode_body(environ: WSGIEnvironment) -> None:
    header = environ["HTTP_CONTENT_ENCODING"]
    names = [each.strip().lower() for each in header.split(",")]
    [*codings] = (name for name in names if name not in _NONE)
    if not codings:
        return
    body: Any = _Refused(header)
    if len(codings) == 1 and codings[0] in {*_GZIP, _DEFLATE}:
        body = _Decoded(get_input_stream(environ), codings[0])
    environ["wsgi.input"] = body
    # The decoded length is unknown; the stream itself ends the body.
    environ["wsgi.input_terminated"] = True
    environ.pop("CONTENT_LENGTH", None)


class _Refused:
    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def read(self, size: int = -1) -> bytes:
        raise ContentEncodingError(self._encoding)


class _Decoded:
    def __init__(self, stream: IO[bytes], coding: str) -> None:
        self._stream = stream
        self._coding = coding
        self._decoder: Any = None
        self._pending = b""
        self._ended = False
        self._taken = 0
        self._given = 0

    def read(self, size: int = -1) -> bytes:
        """At most *size* bytes; all that is left without one.

        Raises:
            InvalidRequestError: the body is damaged, or breaks off.
        """
        if size < 0:
            return b"".join(iter(lambda: self.read(_PIECE_BYTES), b""))
        if size == 0:
            return b""
        while self._more():
            data = self._decode(size)
            if data:
                self._given += len(data)
                return data
            if self._decoder is not None and not self._pending and self._ended:
                raise self._damaged("it breaks off")
        return b""

    def _more(self) -> bool:
        # Whether there is something to decode, or the decoder may hold a rest.
        if not self._pending:
            self._pending = self._stream.read(_PIECE_BYTES)
            self._ended = not self._pending
            self._taken += len(self._pending)
        if self._taken > 2 * self._given + _SPARE_BYTES:
            raise self._damaged("it decodes to nothing")
        return self._decoder is not None or not self._ended

    def _decode(self, size: int) -> bytes:
        if self._decoder is None:
            self._decoder = zlib.decompressobj(self._window_bits())
        try:
            data: bytes = self._decoder.decompress(self._pending, size)
        except zlib.error as error:
            problem = f"it is damaged, or not {self._coding}"
            raise self._damaged(problem) from error
        self._pending = self._decoder.unconsumed_tail
        if self._decoder.eof:
            # Another member may follow (RFC 1952).
            self._pending = self._decoder.unused_data
            self._decoder = None
        return data

    def _window_bits(self) -> int:
        if self._coding in _GZIP:
            return _GZIP_BITS
        # RFC 9110 means zlib's format; some programs leave its two bytes out.
        start = self._pending[:2].ljust(2, b"\0")
        has_header = start[0] & 0x0F == 8 and int.from_bytes(start) % 31 == 0
        return zlib.MAX_WBITS if has_header else -zlib.MAX_WBITS

    def _damaged(self, problem: str) -> InvalidRequestError:
        message = (
            f"the body cannot be decoded as its Content-Encoding {self._coding}: "
            f"{problem}: send it anew, or uncompressed without that header"
        )
        return InvalidRequestError(message, code=BAD_REQUEST)

"""The multipart parser: the files of a form, or a message that says what is wrong with it.

werkzeug drops a whole form for one file name that is not UTF-8, and does not say why it cannot
read a form. Names are only repeated in answers, so they are decoded leniently. Every spooled
file is closed.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryFile
from typing import IO, Any, Final, NoReturn, cast
from urllib.parse import unquote_to_bytes

from flask import Request
from werkzeug.datastructures import FileStorage, Headers, MultiDict
from werkzeug.exceptions import RequestEntityTooLarge
from werkzeug.formparser import FormDataParser, MultiPartParser
from werkzeug.sansio.multipart import (
    HEADER_CONTINUATION_RE,
    Data,
    Field,
    File,
    MultipartDecoder,
    NeedData,
    State,
)
from werkzeug.utils import cached_property
from werkzeug.wsgi import get_input_stream

from models.errors import InvalidRequestError, quoted
from service.http.errors import BAD_REQUEST

_PIECE_BYTES: Final = 16 * 1024
"""Bytes of a form that are parsed at a time. werkzeug searches a piece that may hold a boundary
with a regular expression (6 ns a byte, measured), and other pieces not."""

_BOUNDARY_BYTES: Final = 80
"""A boundary's line without its line breaks (RFC 2046: 70 characters, and dashes)."""

_HEAD_BYTES: Final = 512
"""First bytes of a part without a file name: a zero byte among them marks a file."""

_HEADERS_BYTES: Final = 64 * 1024
"""Longest headers of one part, or text before the first part."""

_FILE_TYPES: Final = ("image/", "application/octet-stream")

LEAVE_CONTENT_TYPE: Final = (
    "leave Content-Type to the client, which writes the boundary too (curl -F, requests "
    "with files=, fetch or axios with a FormData and no Content-Type of your own)"
)

_PARAMETER: Final = re.compile(
    r';\s*(\w+\*?)\s*=\s*(?:"((?:[^"\\]|\\.)*)"(?=\s*(?:;|$))'
    # Not escaped: a quote in the name, or Shift JIS, whose letters may end in one.
    r'|"(.*?)"(?=\s*(?:;|$))|"(.*)|([^;]*))',
    re.DOTALL,
)
"""Reads each character a few times at most, whatever the header holds."""


class UploadRequest(Request):
    """A request that closes every file it spooled, also when reading it failed.

    Attributes:
        spool_folder: where files are spooled; None: in memory or in /tmp.
    """

    spool_folder: Path | None = None

    @cached_property
    def stream(self) -> IO[bytes]:
        """The body; reading it beyond the largest size raises HTTPException (413).

        werkzeug's own stream cuts a body without Content-Length off there.
        """
        most = self.max_content_length
        ends = "wsgi.input_terminated" in self.environ
        if self.content_length is None and ends and most is not None:
            return cast("IO[bytes]", _Limited(self.environ["wsgi.input"], most))
        return get_input_stream(self.environ, max_content_length=most)

    def make_form_data_parser(self) -> FormDataParser:
        """The parser of this request's form, which raises InvalidRequestError."""
        return _FormParser(
            stream_factory=self._get_file_stream,
            max_form_memory_size=self.max_form_memory_size,
            max_form_parts=self.max_form_parts,
        )

    def _get_stream_for_parsing(self) -> IO[bytes]:
        return cast(IO[bytes], _Pieces(super()._get_stream_for_parsing()))

    def _get_file_stream(self, *args: Any, **options: Any) -> IO[bytes]:
        if self.spool_folder is not None:
            spooled = TemporaryFile(dir=self.spool_folder)  # noqa: SIM115 - see `close`
            stream = cast("IO[bytes]", spooled)
        else:
            stream = super()._get_file_stream(*args, **options)
        self.__dict__.setdefault("spooled", []).append(stream)
        return stream

    def close(self) -> None:
        """Close the files; what was read from them stays."""
        super().close()
        for stream in self.__dict__.pop("spooled", []):
            stream.close()


def shown_start(text: str) -> str:
    """The beginning of *text*, which a client sent: enough to recognise it."""
    return quoted(text[:40])


class _FormParser(FormDataParser):
    def _parse_multipart(
        self,
        stream: IO[bytes],
        mimetype: str,
        content_length: int | None,
        options: dict[str, str],
    ) -> tuple[IO[bytes], MultiDict[str, str], MultiDict[str, FileStorage]]:
        boundary = options.get("boundary", "")
        if not boundary or not boundary.isascii():
            _refuse_without_boundary(boundary, stream.read(_HEAD_BYTES))
        form = _Form(
            _Decoder(boundary.encode(), max_parts=self.max_form_parts),
            lambda: self.stream_factory(content_length, None, None),
            self.max_form_memory_size,
        )
        form.read(stream)
        return stream, MultiDict(form.fields), MultiDict(form.files)


class _Decoder(MultipartDecoder):
    def _parse_headers(self, data: bytes | bytearray) -> Headers:
        lines = HEADER_CONTINUATION_RE.sub(b" ", bytes(data)).splitlines()
        pairs = (_text(line).partition(":") for line in lines)
        headers = Headers([(name.strip(), value.strip()) for name, _, value in pairs])
        if "content-disposition" not in headers:
            message = (
                "a part of the form has no Content-Disposition header: begin each with "
                'Content-Disposition: form-data; name="FIELD"; filename="FILE"'
            )
            raise InvalidRequestError(message, code=BAD_REQUEST)
        return headers


@dataclass
class _Form:
    decoder: MultipartDecoder
    new_file: Callable[[], IO[bytes]]
    max_text_bytes: int | None
    fields: list[tuple[str, str]] = field(default_factory=list)
    files: list[tuple[str, FileStorage]] = field(default_factory=list)

    def read(self, stream: IO[bytes]) -> None:
        start = b""
        part: _Part | None = None
        while data := stream.read(4 * _PIECE_BYTES):
            start = start or data[:_HEAD_BYTES]
            self.decoder.receive_data(data)
            while not isinstance(event := self.decoder.next_event(), NeedData):
                if isinstance(event, Field | File):
                    part = _Part(event.headers, self.new_file, self.max_text_bytes)
                elif isinstance(event, Data) and part is not None:
                    part.write(event.data)
                    if not event.more_data:
                        self._end(part)
            if self.decoder.state is State.EPILOGUE:
                self.decoder.buffer.clear()
            elif len(self.decoder.buffer) > _HEADERS_BYTES:
                break
        _check_end(self.decoder, start)

    def _end(self, part: _Part) -> None:
        if (text := part.text()) is not None:
            self.fields.append((part.name, text))
        else:
            self.files.append((part.name, part.file()))


class _Part:
    """A field or a file; without a file name, its first bytes decide which."""

    def __init__(
        self,
        headers: Headers,
        new_file: Callable[[], IO[bytes]],
        max_text_bytes: int | None,
    ) -> None:
        self.headers = headers
        self.name, self.filename = _names(headers["content-disposition"])
        self._new_file = new_file
        self._max_text_bytes = max_text_bytes
        self._held = bytearray()
        self._stream: IO[bytes] | None = None
        kind = headers.get("content-type", "").lower()
        if self.filename is not None or kind.startswith(_FILE_TYPES):
            self._stream = new_file()

    def write(self, data: bytes) -> None:
        if self._stream is not None:
            self._stream.write(data)
            return
        self._held += data
        if b"\0" in self._held[:_HEAD_BYTES]:
            self._stream = self._new_file()
            self._stream.write(self._held)
        elif (
            self._max_text_bytes is not None and len(self._held) > self._max_text_bytes
        ):
            message = (
                f"the field {quoted(self.name)} is a text above "
                f"{self._max_text_bytes:,} bytes: send it as a file, with a file name"
            )
            raise InvalidRequestError(message, code="too_large")

    def text(self) -> str | None:
        if self._stream is not None:
            return None
        charset = MultiPartParser().get_part_charset(self.headers)
        return self._held.decode(charset, "replace")

    def file(self) -> FileStorage:
        stream = cast("IO[bytes]", self._stream)
        stream.seek(0)
        return FileStorage(stream, self.filename or "", self.name, headers=self.headers)


def _names(disposition: str) -> tuple[str, str | None]:
    given: dict[str, str] = {}
    for found in _PARAMETER.finditer(disposition):
        escaped, *others = found.groups()[1:]
        value = next((each for each in others if each is not None), "")
        if escaped is not None:
            value = re.sub(r'\\(["\\])', r"\1", escaped).replace("%22", '"')
        given.setdefault(found[1].lower(), value.strip() if found[5] else value)
    filename = given.get("filename")
    if "filename*" in given:
        # RFC 5987: charset'language'percent-encoded.
        filename = _text(unquote_to_bytes(given["filename*"].split("'", 2)[-1]))
    return given.get("name", ""), filename


def _text(raw: bytes) -> str:
    try:
        return raw.decode()
    except UnicodeDecodeError:
        return raw.decode("latin-1")


def _check_end(decoder: MultipartDecoder, start: bytes) -> None:
    boundary = f"--{decoder.boundary.decode()}"
    if decoder.state is State.EPILOGUE:
        return
    if not start:
        message = "the form is empty, the body has no bytes: send at least one file"
    elif decoder.state is State.PREAMBLE:
        message = (
            f"the boundary {quoted(boundary)} of Content-Type is nowhere in the body, "
            f"which begins with {shown_start(_text(start))}: {LEAVE_CONTENT_TYPE}"
        )
    elif len(decoder.buffer) > _HEADERS_BYTES:
        message = "the headers of a part of the form are too long: shorten its name"
    else:
        message = (
            f"the form breaks off before its closing boundary {quoted(boundary + '--')}: "
            "send it whole, and leave Content-Length to the client"
        )
    raise InvalidRequestError(message, code=BAD_REQUEST)


def _refuse_without_boundary(boundary: str, start: bytes) -> NoReturn:
    if boundary:
        problem = f"the boundary {quoted(boundary)} of Content-Type is not ASCII"
    else:
        problem = "Content-Type multipart/form-data has no boundary"
    remedy = LEAVE_CONTENT_TYPE
    if start.lstrip().startswith((b"{", b"[")):
        problem = f"{problem}, and the body is JSON"
        remedy = "send Content-Type: application/json"
    elif not start:
        problem = f"{problem}, and the body is empty"
    raise InvalidRequestError(f"{problem}: {remedy}", code=BAD_REQUEST)


@dataclass
class _Limited:
    stream: IO[bytes]
    left: int

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return b"".join(iter(lambda: self.read(4 * _PIECE_BYTES), b""))
        data = self.stream.read(size)
        self.left -= len(data)
        if self.left < 0:
            raise RequestEntityTooLarge
        return data


@dataclass(frozen=True)
class _Pieces:
    stream: IO[bytes]

    def read(self, size: int = -1) -> bytes:
        if size < 0:
            return self.stream.read(size)
        piece = self.stream.read(min(size, _PIECE_BYTES))
        # werkzeug 3.1.9 adds a carriage return to a file if a piece ends right behind
        # a boundary's text, so none may end near one.
        while _is_near_line_break(piece) and len(piece) < size:
            more = self.stream.read(min(size - len(piece), 2 * _BOUNDARY_BYTES))
            if not more:
                break
            piece += more
        return piece


def _is_near_line_break(piece: bytes) -> bool:
    end = piece[-_BOUNDARY_BYTES:]
    return b"\n" in end or b"\r" in end

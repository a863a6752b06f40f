"""A form of texts and files that is sent in pieces, however large its files are."""

from __future__ import annotations

import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from urllib3.fields import RequestField

from kennel.api.uploads import Upload


@dataclass(frozen=True)
class _Part:
    head: bytes
    size: int
    chunks: Callable[[], Iterator[bytes]]


def make_form(texts: Mapping[str, Any], files: Mapping[str, Upload]) -> Upload:
    """The body of a multipart form with *texts*, then *files*, each by its field."""
    boundary = uuid.uuid4().hex
    parts = [_text(name, str(text)) for name, text in texts.items()]
    parts += [_file(name, file) for name, file in files.items()]
    start, end = f"--{boundary}\r\n".encode(), f"--{boundary}--\r\n".encode()
    size = sum(len(start) + len(part.head) + part.size + 2 for part in parts)

    def chunks() -> Iterator[bytes]:
        for part in parts:
            yield start + part.head
            yield from part.chunks()
            yield b"\r\n"
        yield end

    kind = f"multipart/form-data; boundary={boundary}"
    return Upload("form", kind, size + len(end), chunks)


def _text(name: str, text: str) -> _Part:
    content = text.encode()
    return _Part(_head(name), len(content), lambda: iter((content,)))


def _file(name: str, file: Upload) -> _Part:
    return _Part(_head(name, file.name, file.content_type), file.size, file.chunks)


def _head(name: str, filename: str | None = None, kind: str | None = None) -> bytes:
    field = RequestField(name, b"", filename)
    field.make_multipart(content_type=kind)
    return field.render_headers().encode()

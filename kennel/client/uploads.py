"""The request that starts a job, with its uploads.

A folder of the service is named in JSON. An archive is the body itself; a folder on
this machine is packed as a tar while it is sent; with CSV files, all are parts of a
form. The same folder gives the same bytes, so that the API recognises a repeated
upload.
"""

from __future__ import annotations

import json
import os
import stat
import tarfile
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final, TypeAlias

from urllib3.fields import RequestField

from kennel.client.transport import Request, query_path
from models.errors import InvalidRequestError

UPLOAD_TYPES: Final = {
    ".zip": "application/zip",
    ".tar": "application/x-tar",
    ".tar.gz": "application/gzip",
    ".tgz": "application/gzip",
}

ANSWER_SECONDS: Final = 900.0
"""Long, because the API unpacks an archive before it answers."""

TOTAL_SECONDS: Final = 24 * 3600.0

Sent: TypeAlias = Callable[[int, int], None]
"""Called with (bytes sent, bytes in all)."""

LeftOut: TypeAlias = Callable[[Sequence[str]], None]
"""Called before the upload with the names in the folder that are no photos."""

_CHUNK_BYTES: Final = 1024 * 1024
_END: Final = bytes(2 * tarfile.BLOCKSIZE)


@dataclass(frozen=True)
class Upload:
    """A body that can be sent more than once.

    Attributes:
        name: its name in the job's status, in UTF-8.
        size: in bytes.
        chunks: yields its content; each call from the start.
        left_out: names in the folder that are not sent, because they are no photos.
    """

    name: str
    content_type: str
    size: int
    chunks: Callable[[], Iterator[bytes]]
    left_out: Sequence[str] = ()


def sent_name(path: Path) -> str:
    """The name of the file at *path* as it is sent: UTF-8, with ``?`` for other bytes."""
    return path.name.encode(errors="replace").decode()


def submit_request(
    source: str | Path,
    options: Mapping[str, Any],
    on_sent: Sent | None = None,
    on_left_out: LeftOut | None = None,
) -> Request:
    """The request that starts a job on *source*; see `Client.submit`.

    It has an Idempotency-Key of its own, so that it may be repeated.

    Raises:
        InvalidRequestError: there is no such folder, archive or CSV file.
        OSError: a file cannot be read.
    """
    given = {name: value for name, value in options.items() if value is not None}
    sheets = {
        name: _csv_file(value)
        for name, value in given.items()
        if isinstance(value, Path)
    }
    texts = {name: value for name, value in given.items() if name not in sheets}
    if isinstance(source, Path):
        archive = _archive_or_folder(source)
        if on_left_out is not None and archive.left_out:
            on_left_out(archive.left_out)
        texts = {"input": archive.name, **texts}
        if not sheets:
            return _upload_request(query_path("/v1/jobs", texts), archive, on_sent)
        sheets = {**sheets, "archive": archive}
    else:
        texts = {"input": source, **texts}
    if not sheets:
        return _json_request(texts)
    return _upload_request("/v1/jobs", _form(texts, sheets), on_sent)


def _json_request(members: Mapping[str, Any]) -> Request:
    body = json.dumps(members).encode()
    headers = {**_idempotency_key(), "Content-Type": "application/json"}
    return Request("POST", "/v1/jobs", headers, lambda: body)


def _upload_request(path: str, upload: Upload, on_sent: Sent | None) -> Request:
    def body() -> Iterator[bytes]:
        count = 0
        for chunk in upload.chunks():
            yield chunk
            count += len(chunk)
            if on_sent is not None:
                on_sent(count, upload.size)

    kind, size = upload.content_type, str(upload.size)
    return Request(
        "POST",
        path,
        {**_idempotency_key(), "Content-Type": kind, "Content-Length": size},
        body,
        answer_seconds=ANSWER_SECONDS,
        total_seconds=TOTAL_SECONDS,
    )


def _idempotency_key() -> dict[str, str]:
    return {"Idempotency-Key": uuid.uuid4().hex}


def _archive_or_folder(path: Path) -> Upload:
    if path.is_dir():
        return _tar_of_folder(path)
    for ending, kind in UPLOAD_TYPES.items():
        if path.name.lower().endswith(ending):
            size = path.stat().st_size
            return Upload(sent_name(path), kind, size, partial(_read, path, size))
    known = ", ".join(UPLOAD_TYPES)
    raise InvalidRequestError(f"{path} is no folder and no archive ({known})")


def _csv_file(path: Path) -> Upload:
    if not path.is_file():
        raise InvalidRequestError(f"{path} is no file: name a CSV file")
    size = path.stat().st_size
    return Upload(sent_name(path), "text/csv", size, partial(_read, path, size))


def _tar_of_folder(folder: Path) -> Upload:
    # Imported here: it loads Pillow and numpy, which most commands do not need.
    from worker.sources.local import LocalFolder
    from worker.sources.source import list_photos

    listing = list_photos(LocalFolder(folder, str(folder)))
    paths = [folder / item.file for item in listing.items]
    files = [(path, _size(path)) for path in paths]
    heads = (len(_tar_header(file, size)) + _padded(size) for file, size in files)
    total = sum(heads) + len(_END)

    def chunks() -> Iterator[bytes]:
        for file, size in files:
            yield _tar_header(file, size)
            yield from _read(file, size)
            yield bytes(_padded(size) - size)
        yield _END

    name = sent_name(folder.resolve())
    return Upload(name, "application/x-tar", total, chunks, listing.ignored)


def _size(file: Path) -> int:
    status = file.lstat()
    if not stat.S_ISREG(status.st_mode):
        raise InvalidRequestError(f"{file} is no plain file: remove it")
    return status.st_size


def _tar_header(file: Path, size: int) -> bytes:
    # Without time and owner, with which the same folder would give other bytes.
    entry = tarfile.TarInfo(file.name)
    entry.size = size
    return entry.tobuf(tarfile.PAX_FORMAT)


def _padded(size: int) -> int:
    return -(-size // tarfile.BLOCKSIZE) * tarfile.BLOCKSIZE


def _read(file: Path, size: int) -> Iterator[bytes]:
    with os.fdopen(os.open(file, os.O_RDONLY | os.O_NOFOLLOW), "rb") as stream:
        left = size
        while left:
            chunk = stream.read(min(left, _CHUNK_BYTES))
            if not chunk:
                raise InvalidRequestError(f"{file} shrank while it was sent: try again")
            left -= len(chunk)
            yield chunk


@dataclass(frozen=True)
class _Part:
    head: bytes
    size: int
    chunks: Callable[[], Iterator[bytes]]


def _form(texts: Mapping[str, Any], files: Mapping[str, Upload]) -> Upload:
    boundary = uuid.uuid4().hex
    parts = [_text_part(name, str(text)) for name, text in texts.items()]
    parts += [_file_part(name, file) for name, file in files.items()]
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


def _text_part(name: str, text: str) -> _Part:
    content = text.encode()
    return _Part(_part_header(name), len(content), lambda: iter((content,)))


def _file_part(name: str, file: Upload) -> _Part:
    return _Part(
        _part_header(name, file.name, file.content_type), file.size, file.chunks
    )


def _part_header(
    name: str, filename: str | None = None, kind: str | None = None
) -> bytes:
    field = RequestField(name, b"", filename)
    field.make_multipart(content_type=kind)
    return field.render_headers().encode()

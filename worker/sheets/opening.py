"""Where a job's CSV files come from: sent along, or named below INPUT_ROOT.

A named one is copied first: what is checked is what is kept, whoever edits the file.
"""

from __future__ import annotations

import io
import os
import stat
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import BinaryIO, Final, TypeAlias, cast

from models.errors import InvalidRequestError, StorageUnavailableError, quoted
from models.files import hash_stream
from models.images.files import FILE_FAULTS, explain_read_error
from worker.contained import opened_folder, split_inside
from worker.sheets.reading import MAX_SHEET_BYTES, Sheet

GivenSheet: TypeAlias = str | BinaryIO | None
"""The path of a file below INPUT_ROOT, a content that can be sought, or nothing."""

_CHUNK_BYTES: Final = 1024 * 1024
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


@contextmanager
def opened_sheet(
    name: str, given: GivenSheet, input_root: Path | str, spool_folder: Path
) -> Iterator[Sheet | None]:
    """The file that users call *name*; None if there is none.

    A copy, where one is needed, is a nameless file on the disk of *spool_folder*.

    Raises:
        InvalidRequestError: there is no such file below *input_root*, or it is too
            large.
        StorageUnavailableError: it cannot be read now.
        OSError: the disk is full or read-only.
    """
    if given is None:
        yield None
    elif isinstance(given, str):
        spool_folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=spool_folder) as spooled:
            copied = cast("BinaryIO", spooled)
            with _opened_below(input_root, name, given) as stream:
                _copy_bounded(name, given, stream, copied)
            yield _measured(name, copied)
    else:
        yield _measured(name, given)


def _measured(name: str, stream: BinaryIO) -> Sheet:
    _check_size(name, stream.seek(0, io.SEEK_END))
    stream.seek(0)
    return Sheet(name, stream, hash_stream(stream))


def _check_size(name: str, count: int) -> None:
    if count > MAX_SHEET_BYTES:
        message = f"{name} has {count:,} bytes, the limit is {MAX_SHEET_BYTES:,}"
        raise InvalidRequestError(f"{message}: split the job", code="too_large")


@contextmanager
def _opened_below(input_root: Path | str, name: str, path: str) -> Iterator[BinaryIO]:
    if isinstance(input_root, str):
        raise _invalid(name, path, "the service reads photos from object storage")
    # Of any other file the errors would tell the content.
    if not path.lower().endswith(".csv"):
        raise _invalid(name, path, "it is no .csv")
    *folders, file = split_inside(path)
    try:
        with opened_folder(input_root, folders) as folder:
            descriptor = os.open(file, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno not in FILE_FAULTS:
            raise StorageUnavailableError(explain_read_error(path, error)) from error
        reason = "there is no such file, or a link leads to it"
        raise _invalid(name, path, reason) from error
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise _invalid(name, path, "it is no plain file")
        with os.fdopen(descriptor, "rb", closefd=False) as stream:
            yield stream
    finally:
        os.close(descriptor)


def _copy_bounded(name: str, path: str, stream: BinaryIO, copied: BinaryIO) -> None:
    # One that grows meanwhile must not fill the disk.
    count = 0
    while chunk := _read_chunk(path, stream):
        count += len(chunk)
        _check_size(name, count)
        copied.write(chunk)


def _read_chunk(path: str, stream: BinaryIO) -> bytes:
    try:
        return stream.read(_CHUNK_BYTES)
    except OSError as error:
        raise StorageUnavailableError(explain_read_error(path, error)) from error


def _invalid(name: str, path: str, reason: str) -> InvalidRequestError:
    message = (
        f"{name}={quoted(path)} cannot be used ({reason}): name a CSV file below "
        "the input folder, or send one in a form"
    )
    return InvalidRequestError(message, code="invalid_input")

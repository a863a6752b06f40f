"""Files: written whole or not at all, locked, hashed, watched for changes; JSON in them.

A reader never sees half a file: content goes to a temporary name in the same folder, is
flushed to the disk and then takes its final name in one rename. Locks are the kernel's,
which drops those of a killed process. A folder's lock belongs to the folder and not to its
name: after waiting, the folder is checked to be still there, and still the same.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import logging
import os
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO, Generic, TypeVar

from models.errors import ConflictError, InvalidRequestError, StorageFullError

logger = logging.getLogger(__name__)

TEMPORARY_PREFIX = ".tmp-"
"""How the names of unfinished files and folders begin; readers and listings skip them."""

_CHUNK_BYTES = 1024 * 1024
DISK_FULL_ERRORS = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
"""Error numbers: no room on the disk, in a quota, or for a file of that size."""


def write_atomically(path: Path, content: bytes | str) -> None:
    """Write *content* to *path*, all or nothing; durable when the call returns.

    Raises:
        OSError: the disk is full or read-only; *path* is as it was before.
    """
    with open_atomically(path) as stream:
        stream.write(content.encode() if isinstance(content, str) else content)


@contextmanager
def open_atomically(path: Path) -> Iterator[BinaryIO]:
    """A stream; its content becomes that of *path* when the block ends without an error.

    Raises:
        OSError: the disk is full or read-only; *path* is as it was before.
    """
    temporary = temporary_beside(path)
    try:
        with temporary.open("xb") as stream:
            yield stream
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(path)
    except OSError as error:
        if error.filename == str(temporary):
            error.filename = str(path)  # users know this name
        raise
    finally:
        temporary.unlink(missing_ok=True)
    sync_path(path.parent)


@contextmanager
def explained_full_disk(variable: str) -> Iterator[None]:
    """Turn a full disk into an error that names *variable*, the setting of its folder.

    Raises:
        StorageFullError: an `OSError` inside the block said that there is no room.
    """
    try:
        yield
    except OSError as error:
        if error.errno not in DISK_FULL_ERRORS:
            raise
        message = f"the disk that holds {variable} is full: make room, then try again"
        raise StorageFullError(message) from error


def parse_json(text: str | bytes, max_levels: int | None = None) -> Any:
    """The value of a JSON *text*.

    Raises:
        ValueError: *text* is no JSON, or nested deeper than *max_levels* or than Python
            can read (about 1,000 levels).
    """
    try:
        value = json.loads(text)
    except RecursionError as error:
        raise ValueError("it is nested too deeply") from error
    except json.JSONDecodeError:
        raise
    except UnicodeDecodeError as error:
        raise ValueError(f"it is not UTF-8 at byte {error.start + 1:,}") from error
    except ValueError as error:
        raise ValueError("a number in it has too many digits") from error
    if max_levels is not None and _is_deeper(value, max_levels):
        raise ValueError(f"it is nested deeper than {max_levels} levels")
    return value


def _is_deeper(value: Any, levels: int) -> bool:
    if not isinstance(value, dict | list):
        return False
    inner = value.values() if isinstance(value, dict) else value
    return levels == 0 or any(_is_deeper(each, levels - 1) for each in inner)


def temporary_beside(path: Path) -> Path:
    """A unique temporary name in *path*'s folder, which readers and listings skip."""
    return path.with_name(f"{TEMPORARY_PREFIX}{path.name}-{uuid.uuid4().hex[:12]}")


def hash_file(path: Path) -> str:
    """The sha256 of a file's content, in hex.

    Raises:
        OSError: the file cannot be read.
    """
    with path.open("rb") as stream:
        return hash_stream(stream)


def hash_stream(stream: BinaryIO) -> str:
    """The sha256 of the rest of *stream*, in hex.

    Raises:
        OSError: the stream cannot be read.
    """
    digest = hashlib.sha256()
    while chunk := stream.read(_CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def fingerprint_file(path: Path) -> tuple[int, int, int] | None:
    """Modification time, size and inode, to notice a change; None: there is no file."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino


def sync_path(path: Path) -> None:
    """Make a file's content durable, or a folder's names (a rename lives in the folder).

    Raises:
        OSError: *path* cannot be opened.
    """
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextmanager
def locked_file(path: Path, *, busy: ConflictError | None = None) -> Iterator[None]:
    """Hold an exclusive lock on the file at *path*, which is created if it is missing.

    Without *busy*, wait for the lock.

    Raises:
        ConflictError: *busy*; another process holds it.
    """
    with path.open("a") as stream:
        _lock(stream.fileno(), fcntl.LOCK_EX, busy)
        yield


@contextmanager
def locked_folder(folder: Path, *, busy: ConflictError | None = None) -> Iterator[None]:
    """Hold an exclusive lock on *folder*. Without *busy*, wait for the lock.

    Raises:
        FileNotFoundError: the folder is gone.
        ConflictError: *busy*; another process holds it.
    """
    with _held(folder, fcntl.LOCK_EX, busy):
        yield


@contextmanager
def locked_folder_shared(folder: Path) -> Iterator[None]:
    """Hold a shared lock on *folder*, beside other shared ones but no exclusive one.

    Raises:
        FileNotFoundError: the folder is gone.
    """
    with _held(folder, fcntl.LOCK_SH):
        yield


@contextmanager
def _held(folder: Path, how: int, busy: ConflictError | None = None) -> Iterator[None]:
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        _lock(descriptor, how, busy)
        if not os.path.samestat(os.fstat(descriptor), folder.stat()):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), folder)
        yield
    finally:
        os.close(descriptor)


def _lock(descriptor: int, how: int, busy: ConflictError | None) -> None:
    if busy is None:
        fcntl.flock(descriptor, how)
    elif not try_lock(descriptor, how):
        raise busy


def try_lock(descriptor: int, how: int = fcntl.LOCK_EX) -> bool:
    """Lock an open file or folder until it is closed; returns whether that succeeded.

    Raises:
        OSError: the file system has no locks.
    """
    try:
        fcntl.flock(descriptor, how | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


_Content = TypeVar("_Content")


class WatchedFile(Generic[_Content]):
    """A file's content, read again whenever it changes; a broken change is ignored."""

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], _Content],
        what: str,
        look_seconds: float = 0.0,
    ) -> None:
        """Read *path* with *read*; log messages call its content *what*.

        The file is checked for changes at most every *look_seconds*.

        Raises:
            InvalidRequestError: the file is missing or broken; *read* raises it.
        """
        self._path = path
        self._read = read
        self._what = what
        self._look_seconds = look_seconds
        self._next_look = 0.0
        self._lock = threading.Lock()
        self._seen = fingerprint_file(path)
        self._content = read(path)

    def __call__(self) -> _Content:
        """The content now; the last good one while the file is broken."""
        now = time.monotonic()
        if now >= self._next_look:
            self._next_look = now + self._look_seconds
            self._look()
        return self._content

    def _look(self) -> None:
        fingerprint = fingerprint_file(self._path)
        if fingerprint == self._seen:
            return
        with self._lock:
            if fingerprint != self._seen:
                self._reread()
                self._seen = fingerprint

    def _reread(self) -> None:
        try:
            self._content = self._read(self._path)
        except InvalidRequestError as error:
            logger.warning("%s stay as they were: %s", self._what, error)
        else:
            logger.info("%s were read again", self._what)

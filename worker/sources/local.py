"""Photos in folders of this machine; nothing outside the root, links never followed."""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterable, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Final

from models.errors import (
    InvalidImageError,
    KennelError,
    MissingImageError,
    StorageUnavailableError,
)
from models.images.files import FILE_FAULTS, explain_read_error, read_image_file
from models.images.formats import START_BYTES
from worker.contained import opened_folder
from worker.items import Names
from worker.sources.source import (
    InvalidFolderError,
    Listed,
    check_folder_name,
    find_folder,
)
from worker.sources.waiting import AT_ONCE, Waiting

_FORBIDDEN: Final = frozenset({errno.EACCES, errno.EPERM})
_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_ON_THE_WAY: Final = frozenset({errno.ENOTDIR, errno.ELOOP})


@dataclass(frozen=True)
class LocalFolder:
    """The photos in the directory *path*, which users call *name*.

    Attributes:
        listed: the job's photos, if it is read for one.
        waiting: how long a disk or mount that gives errors is asked again.
    """

    path: Path
    name: str
    listed: Listed | None = None
    waiting: Waiting = AT_ONCE
    _seen: dict[str, str] = field(default_factory=dict, compare=False, repr=False)

    def names(self, inner: str = "") -> Names:
        """As `PhotoFolder.names`."""
        try:
            with self._opened(inner) as opened, os.scandir(opened) as entries:
                return _sorted_entries(entries)
        except OSError as error:
            if inner and error.errno in FILE_FAULTS - _FORBIDDEN:
                return Names()
            raise _unreadable_folder(inner or self.name, error) from error

    def starts(self, inner: str, files: Sequence[str]) -> list[bytes]:
        """As `PhotoFolder.starts`."""
        try:
            with self._opened(inner) as opened:
                return [_read_start(opened, file) for file in files]
        except OSError as error:
            raise _unreadable_folder(inner or self.name, error) from error

    def _opened(self, inner: str) -> AbstractContextManager[int]:
        return opened_folder(self.path, inner.split("/") if inner else [])

    def of_job(self, listed: Listed) -> LocalFolder:
        """As `PhotoFolder.of_job`."""
        return replace(self, listed=listed)

    def read(self, file: str) -> bytes:
        """As `PhotoFolder.read`; a link or FIFO is no file, nor what lies behind one."""
        return self.waiting.insist(partial(self._read, file))

    def _read(self, file: str) -> bytes:
        *folders, name = file.split("/")
        try:
            # Whether a photo is missing is asked of the folder that is open: a volume
            # that is mounted or unmounted meanwhile changes nothing in between.
            with opened_folder(self.path, folders) as descriptor:
                try:
                    return read_image_file(Path(name), folder=descriptor)
                except MissingImageError:
                    self._check_place(file.removesuffix(name), descriptor)
                    raise
        except OSError as error:
            if folders and error.errno in _ON_THE_WAY:
                message = f"the file cannot be read ({error.strerror})"
                raise InvalidImageError(message, code="unreadable_file") from error
            raise _unreadable_folder(self.name, error) from error

    def _check_place(self, prefix: str, descriptor: int) -> None:
        # An unmounted volume leaves an empty folder: there no photo was deleted.
        if self.listed is None or _holds(descriptor, self._seen.get(prefix)):
            return
        for file in self.listed():
            name = file.rpartition("/")[2]
            if file == f"{prefix}{name}" and _holds(descriptor, name):
                self._seen[prefix] = name
                return
        where = f" in {prefix!r}" if prefix else ""
        raise InvalidFolderError(self.name, f"none of the job's photos is there{where}")


@dataclass(frozen=True)
class LocalRoot:
    """The directory below which users name folders."""

    path: Path
    waiting: Waiting = AT_ONCE

    def folder(self, name: str) -> LocalFolder:
        """As `PhotoRoot.folder`; a link must not lead out."""
        check_folder_name(name)
        try:
            root = os.path.realpath(self.path)
            spelled = name if Path(root, name).exists() else self._own_spelling(name)
            folder = os.path.realpath(Path(root, spelled))
            inside = folder != root and os.path.commonpath([root, folder]) == root
            is_folder = inside and Path(folder).is_dir()
        except OSError as error:
            raise _unreadable_folder(name, error) from error
        except ValueError as error:
            raise InvalidFolderError(name, "it cannot be looked up") from error
        if not is_folder:
            raise InvalidFolderError(name, "there is no such folder")
        return LocalFolder(Path(folder), name, waiting=self.waiting)

    def _own_spelling(self, name: str) -> str:
        path = "/".join(part for part in name.split("/") if part not in {"", "."})
        return find_folder(path, LocalFolder(self.path, name).names) or name


def _unreadable_folder(name: str, error: OSError) -> KennelError:
    if error.errno in FILE_FAULTS:
        return InvalidFolderError(name, f"it cannot be read ({error.strerror})")
    return StorageUnavailableError(explain_read_error(name, error))


def _holds(descriptor: int, name: str | None) -> bool:
    if name is None:
        return False
    try:
        status = os.stat(name, dir_fd=descriptor, follow_symlinks=False)
    except FileNotFoundError:
        return False
    return stat.S_ISREG(status.st_mode)


def _sorted_entries(entries: Iterable[os.DirEntry[str]]) -> Names:
    files, folders, others = list[str](), list[str](), list[str]()
    for entry in entries:
        if entry.is_file(follow_symlinks=False):
            files.append(entry.name)
        elif entry.is_dir(follow_symlinks=False):
            folders.append(entry.name)
        else:
            others.append(entry.name)
    return Names(tuple(files), tuple(folders), tuple(others))


def _read_start(folder: int, name: str) -> bytes:
    try:
        descriptor = os.open(name, _FILE, dir_fd=folder)
    except OSError as error:
        if error.errno in FILE_FAULTS:
            return b""
        raise
    try:
        return os.read(descriptor, START_BYTES)
    finally:
        os.close(descriptor)

"""Photos in folders of this machine; nothing outside the root, links never followed."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from models.errors import InvalidImageError
from models.image_files import read_image_file
from worker.contained import opened_folder
from worker.sources.source import Names, check_folder_name, invalid_folder, sort_names

_NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
)


@dataclass(frozen=True)
class LocalFolder:
    """The photos in the directory *path*, which users call *name*."""

    path: Path
    name: str

    def names(self) -> Names:
        """As `PhotoFolder.names`."""
        try:
            return sort_names(_entries(self.path))
        except OSError as error:
            reason = f"it cannot be read ({error.strerror})"
            raise invalid_folder(self.name, reason) from error

    def images_in(self, inner: str) -> frozenset[str]:
        """As `PhotoFolder.images_in`."""
        try:
            parts = inner.split("/") if inner else []
            with opened_folder(self.path, parts) as opened:
                return frozenset(sort_names(_entries(opened)).files)
        except OSError as error:
            if error.errno in _NOT_THERE:
                return frozenset()
            reason = f"it cannot be read ({error.strerror})"
            raise invalid_folder(inner, reason) from error

    def read(self, file: str) -> bytes:
        """As `PhotoFolder.read`; a link or FIFO is no file, nor what lies behind one."""
        *folders, name = file.split("/")
        if not folders:
            return read_image_file(self.path / file)
        try:
            with opened_folder(self.path, folders) as descriptor:
                return read_image_file(Path(name), folder=descriptor)
        except OSError as error:
            message = f"the file cannot be read ({error.strerror})"
            raise InvalidImageError(message, code="unreadable_file") from error


@dataclass(frozen=True)
class LocalRoot:
    """The directory below which users name folders."""

    path: Path

    def folder(self, name: str) -> LocalFolder:
        """As `PhotoRoot.folder`; a link must not lead out."""
        check_folder_name(name)
        try:
            root = os.path.realpath(self.path)
            folder = os.path.realpath(Path(root, name))
            inside = folder != root and os.path.commonpath([root, folder]) == root
            is_folder = inside and Path(folder).is_dir()
        except (OSError, ValueError) as error:
            raise invalid_folder(name, "it cannot be looked up") from error
        if not is_folder:
            raise invalid_folder(name, "there is no such folder")
        return LocalFolder(Path(folder), name)


def _entries(folder: Path | int) -> Iterator[tuple[str, bool]]:
    with os.scandir(folder) as entries:
        for entry in entries:
            yield entry.name, entry.is_file(follow_symlinks=False)

"""Every file of a source, whether it lies in a folder or in a zip file.

A path is where the file would lie if all archives were unpacked beside themselves, so
that the layouts need not know of archives. Hidden files and folders are never photos.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Final

from models.errors import NotFoundError

ARCHIVE_SUFFIX: Final = ".zip"
PHOTO_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp"})
_TEST_FOLDERS: Final = frozenset({"test", "test1"})


@dataclass(frozen=True)
class Origin:
    """What to read: a file, or a member of an archive (``members`` from outside in)."""

    location: Path
    members: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceFile:
    """One file below the source; ``size`` in bytes, as the file system or zip says."""

    path: str
    size: int
    origin: Origin

    @property
    def name(self) -> str:
        """The last part of the path."""
        return self.path.rpartition("/")[2]

    @property
    def folder(self) -> str:
        """The path without its last part; "" at the top."""
        return self.path.rpartition("/")[0]

    def is_photo(self) -> bool:
        """Whether the name ends as a photo's does."""
        return os.path.splitext(self.path)[1].lower() in PHOTO_SUFFIXES  # noqa: PTH122

    def is_test(self) -> bool:
        """Whether it lies in a folder called test."""
        return not _TEST_FOLDERS.isdisjoint(self.folder.lower().split("/"))


@dataclass(frozen=True)
class Listing:
    """What a source holds; ``folders`` include hidden and empty ones."""

    files: tuple[SourceFile, ...]
    folders: tuple[str, ...]
    unsafe: tuple[str, ...] = ()
    """Members of archives that were left out: links, and paths that lead outside."""

    @cached_property
    def photos(self) -> tuple[SourceFile, ...]:
        """The files that look like photos, by path."""
        return tuple(file for file in self.files if file.is_photo())


def walk_folder(source: Path) -> Listing:
    """The files and folders below *source*, by path; links to folders are not followed.

    Raises:
        NotFoundError: there is no such folder.
    """
    if not source.is_dir():
        message = f"there is no folder or zip file {source}: check the path"
        raise NotFoundError(message)
    files: list[SourceFile] = []
    folders: list[str] = []
    for root, names, entries in os.walk(source, onerror=_fail):
        folders += [_relative(Path(root, name), source) for name in names]
        names[:] = sorted(name for name in names if not is_hidden(name))
        for name in sorted(entries):
            if not is_hidden(name):
                path = Path(root, name)
                size = path.lstat().st_size
                files.append(SourceFile(_relative(path, source), size, Origin(path)))
    return Listing(tuple(sort_files(files)), tuple(sorted(folders)))


def sort_files(files: Iterable[SourceFile]) -> list[SourceFile]:
    """*files* by path, whatever order the file system gave them in."""
    return sorted(files, key=lambda file: file.path)


def is_hidden(name: str) -> bool:
    """Whether a file or folder of that name is the system's, not the user's."""
    return name.startswith(".") or name == "__MACOSX"


def _fail(error: OSError) -> None:
    raise error


def _relative(path: Path, source: Path) -> str:
    return path.relative_to(source).as_posix()

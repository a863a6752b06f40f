"""What a folder of photos can be asked, wherever it lies, and which files are photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from functools import partial
from typing import Protocol, TypeAlias

from models.errors import (
    InvalidRequestError,
    StorageUnavailableError,
    quoted,
    quoted_names,
)
from models.images.formats import is_photo, is_system_file
from models.text import has_control, normal_name, printable
from worker.items import Listing, Names, order_items

Listed: TypeAlias = Callable[[], Iterable[str]]
"""The files of a job's photos, as they were when it was submitted; read when asked."""


class PhotoFolder(Protocol):
    """A folder of photos."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def names(self, inner: str = "") -> Names:
        """What is now in *inner*, a path of folders below it, or in itself.

        No names if there is no such folder below, or a link is on the way to it.

        Raises:
            InvalidRequestError: it cannot be read.
            StorageUnavailableError: the storage is away.
        """

    def starts(self, inner: str, files: Sequence[str]) -> Iterable[bytes]:
        """The first bytes of *files* in *inner*, `START_BYTES` if there are so many.

        None of a file that is gone or forbidden.

        Raises:
            InvalidRequestError, StorageUnavailableError: as `names`.
        """

    def of_job(self, listed: Listed) -> PhotoFolder:
        """The same folder, read for a job that found *listed* in it.

        A photo of it is missing only if its folder still holds another one of them; a
        folder that holds none is gone, as an unmounted volume is.
        """

    def read(self, file: str) -> bytes:
        """One encoded image, whole; *file* may lie in folders below.

        Raises:
            InvalidImageError: gone, no file, forbidden, empty or too large.
            InvalidRequestError: the folder itself is gone.
            StorageUnavailableError: the storage is away; says nothing of the image.
        """


class PhotoRoot(Protocol):
    """The place below which users name folders."""

    def folder(self, name: str) -> PhotoFolder:
        """The folder called *name*, which exists now.

        Raises:
            InvalidRequestError: not a relative path of a folder strictly inside.
            StorageUnavailableError: the storage is away.
        """


def list_photos(folder: PhotoFolder) -> Listing:
    """The images in *folder*, or in the only folder below it, in submission order.

    Raises:
        InvalidRequestError: no image, two images of one id, or a name that cannot be
            written into a CSV.
        StorageUnavailableError: the storage is away.
    """
    inner, ignored = "", list[str]()
    while True:
        names = folder.names(inner)
        below = [each for each in names.folders if not is_system_file(each)]
        photos, left_out = _sort_files(folder, inner, names.files)
        left_out += [each for each in names.others if not is_system_file(each)]
        wraps = not photos and len(below) == 1
        if not wraps:
            left_out += below
        ignored += [printable(_join(inner, each)) for each in left_out]
        if not wraps:
            break
        inner = _join(inner, below[0])
    items = order_items(photos, inner)
    if not items:
        paths = [_join(folder.name, _join(inner, each)) for each in sorted(below)]
        choice = f", but folders: {quoted_names(paths)}" if paths else ""
        raise InvalidFolderError(folder.name, f"it holds no image{choice}")
    return Listing(items, tuple(sorted(ignored)), inner)


def _sort_files(
    folder: PhotoFolder, inner: str, files: Sequence[str]
) -> tuple[list[str], list[str]]:
    unknown: list[str] = []

    def note(file: str) -> bytes:
        unknown.append(file)
        return b""

    for file in files:
        is_photo(file, partial(note, file))
    # All that have to be looked into at once: object storage is asked side by side.
    starts = dict(zip(unknown, folder.starts(inner, unknown), strict=True))
    photos, others = list[str](), list[str]()
    for file in files:
        if is_photo(file, partial(starts.__getitem__, file)):
            photos.append(file)
        elif not is_system_file(file):
            others.append(file)
    return photos, others


def find_folder(path: str, names: Callable[[str], Names]) -> str | None:
    """*path*, folders from a root on, in the root's own spelling; None: not there.

    *names* tells what is in a folder of it.

    Raises:
        KennelError: as *names*.
    """
    found = ""
    for part in path.split("/"):
        known = {normal_name(each): each for each in names(found).folders}
        if normal_name(part) not in known:
            return None
        found = _join(found, known[normal_name(part)])
    return found


def _join(folder: str, name: str) -> str:
    return f"{folder}/{name}" if folder else name


def check_folder_name(name: str) -> None:
    """Accept a name that stays below the root, as far as its text tells.

    Raises:
        InvalidRequestError: empty, absolute, or with "..", backslash or control
            characters.
    """
    if not name.strip() or has_control(name) or "\\" in name:
        raise InvalidFolderError(
            name, "it is empty or holds a backslash or control character"
        )
    if name.startswith("/") or ".." in name.split("/"):
        raise InvalidFolderError(name, "it is absolute or holds '..'")


class InvalidFolderError(InvalidRequestError):
    """The folder that a user names cannot be used.

    Attributes:
        name: what the user calls it.
        reason: why it cannot be used.
    """

    code = "invalid_input"

    def __init__(self, name: str, reason: str) -> None:
        """Say that *name* cannot be used, for that *reason*, and what can."""
        message = (
            f"input={quoted(name)} cannot be used ({reason}): name a folder that holds "
            "images, below the service's input folder"
        )
        super().__init__(message)
        self.name = name
        self.reason = reason

    def during_job(self) -> StorageUnavailableError:
        """The same for a job that found its photos there when it was submitted."""
        return StorageUnavailableError(
            f"the photos of {quoted(self.name)} are away ({self.reason}): mount or restore "
            "their folder, then the job goes on"
        )

"""What a folder of photos can be asked, wherever it lies, and which names are photos."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol, TypeAlias

from models.errors import InvalidRequestError, StorageUnavailableError, quoted
from models.names import has_control, is_writable
from worker.items import Listing, is_sidecar, order_items

Listed: TypeAlias = Callable[[], Iterable[str]]
"""The files of a job's photos, as they were when it was submitted; read when asked."""


@dataclass(frozen=True)
class Names:
    """The names in a folder: files that may be photos, and what is left out."""

    files: tuple[str, ...]
    ignored: tuple[str, ...]


class PhotoFolder(Protocol):
    """A folder of photos."""

    @property
    def name(self) -> str:
        """What the user calls it."""

    def names(self) -> Names:
        """All names in it now, in no particular order; hidden ones are not told.

        Raises:
            InvalidRequestError: it cannot be read.
            StorageUnavailableError: the storage is away.
        """

    def images_in(self, inner: str) -> frozenset[str]:
        """Names of the images in *inner*, a path of folders below it or ``""``.

        No names if there is no such folder, or a link is on the way to it.

        Raises:
            InvalidRequestError: it cannot be read.
            StorageUnavailableError: the storage is away.
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
    """The images in *folder*, in submission order.

    Raises:
        InvalidRequestError: no image, two images of one id, or a name that cannot be
            written into a CSV.
        StorageUnavailableError: the storage is away.
    """
    names = folder.names()
    items = order_items(names.files)
    if not items:
        raise InvalidFolderError(folder.name, "it holds no image")
    # A name that is no UTF-8 could not be written into the report.
    ignored = (
        each if is_writable(each) else ascii(each)[1:-1] for each in names.ignored
    )
    return Listing(items, tuple(sorted(ignored)))


def sort_names(entries: Iterable[tuple[str, bool]]) -> Names:
    """The names in a folder, each given with whether it is a plain file."""
    files: list[str] = []
    ignored: list[str] = []
    for name, is_file in entries:
        if not name.startswith("."):
            (files if is_file and not is_sidecar(name) else ignored).append(name)
    return Names(tuple(files), tuple(ignored))


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

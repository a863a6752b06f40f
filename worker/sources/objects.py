"""Photos in folders of object storage: what lies directly below a prefix.

An object that is gone or forbidden is an image that cannot be read, as such a file is.
Storage that is away says nothing of an image: it ends the attempt, and the shard runs
again.
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Final

from models.errors import InvalidImageError, MissingImageError
from models.images.files import MAX_IMAGE_BYTES, check_image_bytes
from models.images.formats import START_BYTES
from worker.items import Names
from worker.sources.driver import ForbiddenError
from worker.sources.object_names import VERSION_MARK
from worker.sources.source import (
    InvalidFolderError,
    Listed,
    check_folder_name,
    find_folder,
)
from worker.sources.store import ObjectStore

_READERS: Final = 16
"""How many objects are looked into at a time: each costs a round trip."""


@dataclass(frozen=True)
class ObjectFolder:
    """The photos at *prefix* in *store*, which users call *name*."""

    store: ObjectStore
    prefix: str
    name: str

    def names(self, inner: str = "") -> Names:
        """As `PhotoFolder.names`."""
        try:
            return self.store.names(f"{self.prefix}/{inner}" if inner else self.prefix)
        except FileNotFoundError as error:
            if inner:
                return Names()
            raise InvalidFolderError(self.name, "there is no such folder") from error

    def starts(self, inner: str, files: Sequence[str]) -> list[bytes]:
        """As `PhotoFolder.starts`; several objects are asked for at a time."""
        if not files:
            return []
        prefix = f"{self.prefix}/{inner}" if inner else self.prefix
        with ThreadPoolExecutor(_READERS) as readers:
            return list(
                readers.map(lambda file: self._start(f"{prefix}/{file}"), files)
            )

    def _start(self, name: str) -> bytes:
        try:
            return self.store.read(name, START_BYTES)
        except (FileNotFoundError, ForbiddenError):
            return b""

    def of_job(self, listed: Listed) -> ObjectFolder:
        """As `PhotoFolder.of_job`; a prefix has no volume: one object shows it."""
        return self

    def read(self, file: str) -> bytes:
        """As `PhotoFolder.read`; of a large object no more than the limit is fetched."""
        try:
            image = self._fetch(file)
        except (FileNotFoundError, ForbiddenError):
            # A bucket or prefix that is gone or locked is no deleted photo.
            if not self.store.has_folder(self.prefix):
                raise InvalidFolderError(self.name, "there is no such folder") from None
            image = self._fetch_or_refuse(file)
        check_image_bytes(len(image))
        return image

    def _fetch(self, file: str) -> bytes:
        return self.store.read(f"{self.prefix}/{file}", MAX_IMAGE_BYTES + 1)

    def _fetch_or_refuse(self, file: str) -> bytes:
        # Once more: the storage may have come back in between.
        try:
            return self._fetch(file)
        except FileNotFoundError as error:
            message = "the file cannot be read (there is no such object)"
            raise MissingImageError(message) from error
        except ForbiddenError as error:
            message = "the file cannot be read (access was refused)"
            raise InvalidImageError(message, code="unreadable_file") from error


@dataclass(frozen=True)
class ObjectRoot:
    """The place in object storage below which users name folders."""

    store: ObjectStore

    def folder(self, name: str) -> ObjectFolder:
        """As `PhotoRoot.folder`."""
        check_folder_name(name)
        prefix = "/".join(part for part in name.split("/") if part not in {"", "."})
        usable = prefix and VERSION_MARK not in prefix
        if usable and not self.store.has_folder(prefix):
            prefix = find_folder(prefix, self._names) or ""
        if not usable or not prefix:
            raise InvalidFolderError(name, "there is no such folder")
        return ObjectFolder(self.store, prefix, name)

    def _names(self, folder: str) -> Names:
        try:
            return self.store.names(folder)
        except FileNotFoundError:
            return Names()

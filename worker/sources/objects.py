"""Photos in folders of object storage: what lies directly below a prefix.

An object that is gone or forbidden is an image that cannot be read, as such a file is.
Storage that is away says nothing of an image: it ends the attempt, and the shard runs
again.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import InvalidImageError, MissingImageError
from models.image_files import MAX_IMAGE_BYTES, check_image_bytes
from worker.sources.driver import ForbiddenError
from worker.sources.object_names import VERSION_MARK
from worker.sources.source import (
    InvalidFolderError,
    Listed,
    Names,
    check_folder_name,
    sort_names,
)
from worker.sources.store import ObjectStore


@dataclass(frozen=True)
class ObjectFolder:
    """The photos at *prefix* in *store*, which users call *name*."""

    store: ObjectStore
    prefix: str
    name: str

    def names(self) -> Names:
        """As `PhotoFolder.names`; what lies deeper shows as a folder's name."""
        try:
            return sort_names(self.store.entries(self.prefix))
        except FileNotFoundError as error:
            raise InvalidFolderError(self.name, "there is no such folder") from error

    def images_in(self, inner: str) -> frozenset[str]:
        """As `PhotoFolder.images_in`."""
        prefix = f"{self.prefix}/{inner}" if inner else self.prefix
        try:
            return frozenset(sort_names(self.store.entries(prefix)).files)
        except FileNotFoundError:
            return frozenset()

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
        if not usable or not self.store.has_folder(prefix):
            raise InvalidFolderError(name, "there is no such folder")
        return ObjectFolder(self.store, prefix, name)

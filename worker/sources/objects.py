"""Photos in folders of object storage: what lies directly below a prefix.

An object that is gone is an image that cannot be read, as a deleted file is. Storage
that is away says nothing of an image: it ends the attempt, and the shard runs again.
"""

from __future__ import annotations

from dataclasses import dataclass

from models.errors import InvalidImageError
from models.image_files import MAX_IMAGE_BYTES, check_image_bytes
from worker.sources.object_names import VERSION_MARK
from worker.sources.source import Names, check_folder_name, invalid_folder, sort_names
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
            raise invalid_folder(self.name, "there is no such folder") from error

    def images_in(self, inner: str) -> frozenset[str]:
        """As `PhotoFolder.images_in`."""
        prefix = f"{self.prefix}/{inner}" if inner else self.prefix
        try:
            return frozenset(sort_names(self.store.entries(prefix)).files)
        except FileNotFoundError:
            return frozenset()

    def read(self, file: str) -> bytes:
        """As `PhotoFolder.read`; of a large object no more than the limit is fetched."""
        try:
            image = self.store.read(f"{self.prefix}/{file}", MAX_IMAGE_BYTES + 1)
        except FileNotFoundError as error:
            self._check()
            message = "the file cannot be read (there is no such object)"
            raise InvalidImageError(message, code="unreadable_file") from error
        check_image_bytes(len(image))
        return image

    def _check(self) -> None:
        # A bucket or prefix that is gone is no deleted photo, but the wrong place.
        if not self.store.has_folder(self.prefix):
            raise invalid_folder(self.name, "there is no such folder")


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
            raise invalid_folder(name, "there is no such folder")
        return ObjectFolder(self.store, prefix, name)

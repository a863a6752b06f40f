"""A place in object storage: its folders and objects, by their names below it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from worker.items import Names
from worker.sources.driver import (
    STORAGE_AWAY,
    Driver,
    StorageRefusedError,
    load_driver,
)
from worker.sources.object_names import list_objects
from worker.sources.waiting import Waiting

_Answer = TypeVar("_Answer")


@dataclass(frozen=True)
class ObjectStore:
    """A place in object storage; thread-safe, waits for storage that is away."""

    driver: Driver
    waiting: Waiting

    @classmethod
    def at(cls, url: str, setting: str, waiting: Waiting) -> ObjectStore:
        """The place at *url*, which the environment variable *setting* holds.

        Raises:
            InvalidRequestError: there is no driver for it.
        """
        load_driver(url, setting)
        return cls(Driver(url, setting), waiting)

    def names(self, folder: str) -> Names:
        """The names directly in *folder*, ``""`` for the place itself.

        Raises:
            FileNotFoundError: there is no such folder.
            StorageUnavailableError: the storage is away, or refuses.
        """
        return self._ask(folder, list_objects)

    def has_folder(self, folder: str) -> bool:
        """Whether there is anything in *folder*.

        Raises:
            StorageUnavailableError: the storage is away, or refuses, or the bucket is
                not there.
        """
        try:
            info: Mapping[str, Any] = self._ask(folder, lambda fs, path: fs.info(path))
        except FileNotFoundError:
            self._check_bucket()
            return False
        return bool(info["type"] == "directory")

    def read(self, name: str, max_bytes: int) -> bytes:
        """The object *name*, or its first *max_bytes*.

        Raises:
            FileNotFoundError: there is no such object.
            StorageUnavailableError: the storage is away, or refuses.
        """
        return self._ask(name, lambda fs, path: _read(fs, path, max_bytes))

    def write(self, name: str, content: bytes) -> None:
        """Make *content* the object *name*, which appears whole or not at all.

        Raises:
            StorageUnavailableError: the storage is away, or refuses, or the bucket is
                not there.
        """
        try:
            self._ask(name, lambda fs, path: fs.pipe_file(path, content))
        except FileNotFoundError as error:
            raise self._no_bucket() from error

    def _check_bucket(self) -> None:
        def look(fs: Any, root: str) -> None:
            fs.info(root.lstrip("/").partition("/")[0])

        try:
            self.waiting.insist(lambda: self.driver.ask(look))
        except FileNotFoundError as error:
            raise self._no_bucket() from error

    def _no_bucket(self) -> StorageRefusedError:
        message = self.driver.explain("there is no such bucket")
        return StorageRefusedError(message, visitor_message=STORAGE_AWAY)

    def _ask(self, name: str, question: Callable[[Any, str], _Answer]) -> _Answer:
        def ask() -> _Answer:
            return self.driver.ask(
                lambda fs, root: question(fs, f"{root}/{name}" if name else root)
            )

        return self.waiting.insist(ask)


def _read(fs: Any, path: str, max_bytes: int) -> bytes:
    try:
        content: bytes = fs.cat_file(path, start=0, end=max_bytes)
    except FileNotFoundError:
        raise
    except OSError:
        # S3 refuses to read from the start of an empty object: there is no such range.
        if fs.info(path)["size"] != 0:
            raise
        return b""
    return content

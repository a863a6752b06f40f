"""A file that is read again whenever it changes; a broken one changes nothing."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Generic, TypeVar

from models.errors import InvalidRequestError
from models.storage import fingerprint_file

_Content = TypeVar("_Content")

logger = logging.getLogger(__name__)


class WatchedFile(Generic[_Content]):
    """What a file says; thread-safe."""

    def __init__(
        self,
        path: Path,
        read: Callable[[Path], _Content],
        what: str,
        look_seconds: float = 0.0,
    ) -> None:
        """Read *path* with *read*; the log calls its content *what*.

        Looks whether it has changed lie *look_seconds* apart.

        Raises:
            InvalidRequestError: *read* says that it is missing or broken.
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
        """Its content now; the last good one while *read* calls it broken."""
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

"""The keys that are valid now; the file is read again whenever it changes.

A broken or missing file keeps the last good keys: it must neither lock everybody out
nor let anybody in.
"""

from __future__ import annotations

import hmac
import logging
import threading
from pathlib import Path

from models.errors import InvalidRequestError
from models.storage import fingerprint_file
from service.protection.keyfile import read_keys
from service.protection.keys import Key, hash_key

logger = logging.getLogger(__name__)


class KeyRing:
    """The keys in one file; thread-safe; every look-up sees its latest state."""

    def __init__(self, path: Path) -> None:
        """Know the keys in *path*.

        Raises:
            InvalidRequestError: it is missing or broken.
        """
        self._path = path
        self._lock = threading.Lock()
        self._seen = fingerprint_file(path)
        self._keys = read_keys(path)

    def find(self, secret: str) -> Key | None:
        """The key that *secret* is, if it is one.

        Takes the same time whichever it is: all digests are compared.
        """
        digest = hash_key(secret)
        found = None
        for key in self._current():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def named(self, name: str) -> Key | None:
        """The key called *name*, if there is one."""
        return next((key for key in self._current() if key.name == name), None)

    def _current(self) -> tuple[Key, ...]:
        fingerprint = fingerprint_file(self._path)
        if fingerprint != self._seen:
            with self._lock:
                if fingerprint != self._seen:
                    self._reread()
                    self._seen = fingerprint
        return self._keys

    def _reread(self) -> None:
        try:
            self._keys = read_keys(self._path)
        except InvalidRequestError as error:
            logger.warning("API keys stay as they were: %s", error)
        else:
            logger.info("API keys read again: %d", len(self._keys))

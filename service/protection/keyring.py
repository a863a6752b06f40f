"""The keys that are valid now; the file is read again whenever it changes.

A broken or missing file keeps the last good keys: it must neither lock everybody out
nor let anybody in.
"""

from __future__ import annotations

import hmac
from pathlib import Path

from models.files import WatchedFile
from service.protection.keyfile import read_keys
from service.protection.keys import Key, hash_key


class KeyRing:
    """The keys in one file; thread-safe; every look-up sees its latest state."""

    def __init__(self, path: Path) -> None:
        """Know the keys in *path*.

        Raises:
            InvalidRequestError: it is missing or broken.
        """
        self._keys = WatchedFile(path, read_keys, "API keys")

    def find(self, secret: str) -> Key | None:
        """The key that *secret* is, if it is one.

        Takes the same time whichever it is: all digests are compared.
        """
        digest = hash_key(secret)
        found = None
        for key in self._keys():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def named(self, name: str) -> Key | None:
        """The key called *name*, if there is one."""
        return next((key for key in self._keys() if key.name == name), None)

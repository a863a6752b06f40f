"""A submission while it is written: beside its final place, hashed as it grows."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from models.files import temporary_beside


@dataclass(frozen=True)
class CSVDraft:
    """A complete text on the disk that nobody sees yet, and the sha256 of its bytes."""

    path: Path
    sha256: str


@contextmanager
def drafted_csv(final: Path, lines: Iterable[str]) -> Iterator[CSVDraft]:
    """The text of *lines* beside *final*, durable; gone after the block unless renamed.

    Raises:
        OSError: the disk is full or read-only; nothing is left behind.
    """
    path, digest = temporary_beside(final), hashlib.sha256()
    try:
        with path.open("xb") as stream:
            for line in lines:
                encoded = line.encode()
                stream.write(encoded)
                digest.update(encoded)
            stream.flush()
            os.fsync(stream.fileno())
        yield CSVDraft(path, digest.hexdigest())
    finally:
        path.unlink(missing_ok=True)

"""What lies in a backup: a line for each file, and a head that makes it count.

files.jsonl   [path, size, sha256, what the source looked like], as each was copied
backup.json   written last; a folder without it is what a killed backup left
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Final, TypeAlias

from models.errors import InvalidRequestError
from models.files import hash_file, parse_json, write_atomically

FILES: Final = "files.jsonl"
HEAD: Final = "backup.json"
SCHEMA: Final = 1

Seen: TypeAlias = tuple[int, int, int]
"""Of a source: `models.files.fingerprint_file`."""


@dataclass(frozen=True)
class Entry:
    """One file, or one folder (its *path* ends with a slash and it has no hash).

    Attributes:
        path: below the backup, as in ``runs/JOB/manifest.json``.
        seen: what the source looked like before it was copied.
    """

    path: str
    size: int = 0
    sha256: str = ""
    seen: Seen | None = None

    @property
    def is_folder(self) -> bool:
        """Whether it stands for a folder."""
        return self.path.endswith("/")

    def line(self) -> str:
        """The entry as a line of `FILES`."""
        return json.dumps([self.path, self.size, self.sha256, self.seen]) + "\n"


@dataclass(frozen=True)
class Head:
    """What `HEAD` says of a backup.

    Attributes:
        created: in UTC.
        version: of the program that made it.
        files: how many, without folders.
        size: their bytes together.
        smaller_than: the name of the last sound backup, if this one has so much less
            that something may be missing.
    """

    created: str
    version: str
    files: int
    size: int
    smaller_than: str = ""

    @property
    def is_sound(self) -> bool:
        """Whether it has files, and not far fewer than the backup before it."""
        return self.files > 0 and not self.smaller_than


def write_head(folder: Path, head: Head) -> None:
    """Close the backup in *folder*: its list is complete.

    Raises:
        OSError: the disk is full or read-only.
    """
    digest = hash_file(folder / FILES)
    content = {"schema": SCHEMA, **vars(head), "files_sha256": digest}
    if not head.smaller_than:
        del content["smaller_than"]  # earlier programs do not know it
    write_atomically(folder / HEAD, json.dumps(content, indent=2))


def read_head(folder: Path) -> Head:
    """The head of the backup in *folder*.

    Raises:
        InvalidRequestError: there is none, or it is not of this program.
    """
    return _read(folder)[0]


def read_listing(folder: Path) -> list[Entry]:
    """All that the backup in *folder* holds, folders before what lies in them.

    Raises:
        InvalidRequestError: it is not complete, or its list was damaged.
    """
    _, digest = _read(folder)
    try:
        text = (folder / FILES).read_bytes()
    except OSError as error:
        message = f"{folder / FILES} cannot be read ({error.strerror})"
        raise InvalidRequestError(f"{message}: use another backup") from error
    if hashlib.sha256(text).hexdigest() != digest:
        message = f"{folder / FILES} is not what {HEAD} says: use another backup"
        raise InvalidRequestError(message)
    entries = [_entry(line) for line in text.decode().splitlines()]
    for entry in entries:
        if ".." in entry.path.split("/"):
            message = f"{folder / FILES} names {entry.path!r}, outside of the backup"
            raise InvalidRequestError(f"{message}: use another backup")
    return entries


def read_copied(folder: Path) -> Iterator[Entry]:
    """What was copied so far into *folder*, also by a backup that was killed."""
    try:
        with (folder / FILES).open(encoding="utf-8") as lines:
            for line in lines:
                yield _entry(line)
    except (OSError, ValueError, TypeError):
        return  # a line that was cut off is the last one


def total_size(entries: Iterable[Entry]) -> int:
    """Bytes of all *entries*."""
    return sum(entry.size for entry in entries)


def _read(folder: Path) -> tuple[Head, str]:
    path = folder / HEAD
    try:
        content = parse_json(path.read_text(encoding="utf-8"))
        if content.pop("schema") != SCHEMA:
            raise ValueError(f"this program reads schema {SCHEMA}")
        digest = str(content.pop("files_sha256"))
        return Head(**content), digest
    except FileNotFoundError as error:
        message = f"{folder} is no complete backup: {HEAD} is not there"
        raise InvalidRequestError(message) from error
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        message = f"{path} cannot be read ({error}): use another backup"
        raise InvalidRequestError(message) from error


def _entry(line: str) -> Entry:
    path, size, sha256, seen = parse_json(line)
    return Entry(path, size, sha256, tuple(seen) if seen else None)

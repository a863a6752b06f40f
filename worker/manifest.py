"""The manifest: all that a run needs to know, written once before anything is queued."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeVar

from models.errors import NotFoundError
from models.files import parse_json, write_atomically
from worker.item_file import write_items
from worker.items import Item, Listing
from worker.request import JobRequest

SCHEMA: Final = 2
INLINE_SCHEMA: Final = 1
"""Before there was an item file, the images stood in the manifest itself."""

MAX_NAMED: Final = 100
"""How many file names a report, a status or a reason spells out."""

_HEAD_CHARACTERS: Final = 300
_CREATED: Final = re.compile(
    r'\{"schema": \d+, "job": "[A-Za-z0-9_-]+", "created": "([0-9T:.+-]+)"'
)
"""Only these come before it in `render_manifest`; another order is read as a whole."""

_OWNER: Final = re.compile(_CREATED.pattern + r', (?:"owner": "([\w-]+)"|"request": )')

_Read = TypeVar("_Read")


@dataclass(frozen=True)
class Manifest:
    """What a run is; its images are read by `worker.run_items`."""

    schema: int
    job_id: str
    request: JobRequest
    created: str
    total: int
    shard_size: int
    ignored: tuple[str, ...]
    ignored_count: int
    inner: str = ""

    @property
    def input(self) -> str:
        """The folder that was taken: the one asked for, or the only one below it."""
        return "/".join(filter(None, (self.request.input, self.inner)))

    @property
    def shard_count(self) -> int:
        """How many shards the run has, the last one possibly smaller."""
        return -(-self.total // self.shard_size)

    @property
    def max_unreadable(self) -> int:
        """How many images may be unreadable before there is no CSV."""
        return self.request.allowed_unreadable(self.total)

    def shard_bounds(self, number: int) -> tuple[int, int]:
        """First item of shard *number* and the one after its last."""
        start = number * self.shard_size
        return start, min(start + self.shard_size, self.total)


@dataclass(frozen=True)
class ManifestFiles:
    """What is written of a new run: ``manifest.json`` and the files of its images."""

    text: str
    items: Sequence[Item]
    shard_size: int

    def write(self, folder: Path) -> None:
        """Write all of it into *folder*, durably; the manifest itself last.

        Raises:
            OSError: the disk is full or read-only.
        """
        write_items(folder, self.items, self.shard_size)
        write_atomically(folder / "manifest.json", self.text)


def render_manifest(
    job_id: str, request: JobRequest, listing: Listing, created: str, shard_size: int
) -> ManifestFiles:
    """What is to be written of a new run's manifest."""
    content = {
        "schema": SCHEMA,
        "job": job_id,
        "created": created,
        **({} if request.owner is None else {"owner": request.owner}),
        "request": request.to_json(),
        "total": len(listing.items),
        "shard_size": shard_size,
        "ignored": listing.ignored[:MAX_NAMED],
        "ignored_count": len(listing.ignored),
        **({"inner": listing.inner} if listing.inner else {}),
    }
    text = json.dumps(content, ensure_ascii=False)
    return ManifestFiles(text, listing.items, shard_size)


def read_manifest(text: str) -> Manifest:
    """What ``manifest.json`` says.

    Raises:
        NotFoundError: not a manifest of this program.
    """
    return _parse(text, _head)


def peek_created(path: Path) -> str:
    """When the job of the manifest at *path* was submitted, from its first bytes.

    Raises:
        NotFoundError: not a manifest of this program, or not there.
    """
    return _peek(path, _CREATED, lambda manifest: manifest.created) or ""


def peek_owner(path: Path) -> str | None:
    """Whose the job of the manifest at *path* is, from its first bytes.

    Raises:
        NotFoundError: not a manifest of this program, or not there.
    """
    return _peek(path, _OWNER, lambda manifest: manifest.request.owner)


def _peek(
    path: Path, pattern: re.Pattern[str], read: Callable[[Manifest], str | None]
) -> str | None:
    try:
        with path.open(encoding="utf-8") as stream:
            start = stream.read(_HEAD_CHARACTERS)
            match = pattern.search(start)
            if match:
                return match[pattern.groups]
            return read(read_manifest(start + stream.read()))
    except (OSError, ValueError) as error:
        message = f"the job's manifest cannot be read ({error})"
        raise NotFoundError(message, code="job_not_found") from error


def read_inline_items(text: str) -> tuple[Item, ...]:
    """All images of a manifest of `INLINE_SCHEMA`, in submission order.

    Raises:
        NotFoundError: not a manifest of this program.
    """
    return _parse(text, lambda content: tuple(Item(*row) for row in content["items"]))


def _parse(text: str, read: Callable[[Any], _Read]) -> _Read:
    try:
        content = parse_json(text)
        if content["schema"] not in (INLINE_SCHEMA, SCHEMA):
            raise ValueError(f"schema {content['schema']}, this program reads {SCHEMA}")
        return read(content)
    except (ValueError, TypeError, KeyError) as error:
        message = (
            f"the job's manifest cannot be read ({error}): submit the folder again"
        )
        raise NotFoundError(message, code="job_not_found") from error


def _head(content: Any) -> Manifest:
    return Manifest(
        schema=content["schema"],
        job_id=content["job"],
        request=JobRequest.from_json(
            {**content["request"], "owner": content.get("owner")}
        ),
        created=content["created"],
        total=content["total"],
        shard_size=content["shard_size"],
        ignored=tuple(content["ignored"]),
        ignored_count=content["ignored_count"],
        inner=content.get("inner", ""),
    )

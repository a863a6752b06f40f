"""The images of a run on disk, so that a shard reads its own and nothing else.

items.jsonl   a line for each shard: a JSON list of its images, each [id, file]
items.index   where each of these lines begins, and where the last one ends
"""

from __future__ import annotations

import json
import os
import struct
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from models.files import open_atomically, parse_json
from worker.items import Item

_LINES: Final = "items.jsonl"
_INDEX: Final = "items.index"
_OFFSET: Final = struct.Struct("<Q")
_BOUNDS: Final = struct.Struct("<QQ")


def write_items(folder: Path, items: Sequence[Item], shard_size: int) -> None:
    """Write both files for *items*, durably.

    Raises:
        OSError: the disk is full or read-only.
    """
    with (
        open_atomically(folder / _LINES) as lines,
        open_atomically(folder / _INDEX) as index,
    ):
        index.write(_OFFSET.pack(0))
        for start in range(0, len(items), shard_size):
            lines.write(_dump(items[start : start + shard_size]) + b"\n")
            index.write(_OFFSET.pack(lines.tell()))


def read_line(folder: Path, number: int) -> tuple[Item, ...]:
    """The images of shard *number*.

    Raises:
        OSError, ValueError, TypeError: the files are damaged or not there.
    """
    with (folder / _INDEX).open("rb") as index:
        bounds = os.pread(index.fileno(), _BOUNDS.size, number * _OFFSET.size)
    if len(bounds) != _BOUNDS.size:
        raise ValueError(f"{_INDEX} does not know shard {number}")
    start, stop = _BOUNDS.unpack(bounds)
    with (folder / _LINES).open("rb") as lines:
        return _parse(os.pread(lines.fileno(), stop - start, start))


def find_in_lines(folder: Path, image_id: str) -> Item | None:
    """The image of that id; only lines that may hold it are looked into.

    Raises:
        OSError, ValueError, TypeError: the file is damaged or not there.
    """
    wanted = _dump([image_id])[:-1] + b","
    with (folder / _LINES).open("rb") as lines:
        for line in lines:
            if wanted in line:
                for item in _parse(line):
                    if item.id == image_id:
                        return item
    return None


def _dump(content: Any) -> bytes:
    text = json.dumps(content, ensure_ascii=False, separators=(",", ":"))
    return text.encode()


def _parse(line: bytes) -> tuple[Item, ...]:
    return tuple(Item(*row) for row in parse_json(line))

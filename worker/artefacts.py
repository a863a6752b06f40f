"""What one shard leaves behind: a row for each of its images, or why there is none.

An artefact is written in one rename and checked whenever it is read; a damaged one
counts as not there, so its shard runs again.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from models.files import parse_json
from worker.items import Item

_HEAD_BYTES: Final = 64
_SECONDS: Final = re.compile(rb'\{"seconds": ([0-9.]+),')


@dataclass(frozen=True)
class Row:
    """One image's raw probabilities in label order, or the error that it met."""

    id: str
    file: str
    probabilities: tuple[float, ...] = ()
    code: str = ""
    detail: str = ""

    @property
    def unreadable(self) -> bool:
        """Whether there is an error instead of probabilities."""
        return bool(self.code)

    def error_json(self) -> dict[str, str]:
        """The error as reports and the job's status show it."""
        texts = (self.id, self.file, self.code, self.detail)
        return dict(zip(("id", "file", "code", "detail"), texts, strict=True))


@dataclass(frozen=True)
class Summary:
    """What a job's status needs to know of an artefact."""

    images: int
    unreadable: tuple[Row, ...]
    written: float


def render_artefact(rows: Sequence[Row], seconds: float) -> str:
    """The text of a shard's artefact; *seconds* is how long the work took."""
    listed = [
        [row.id, row.file, _error(row) if row.unreadable else row.probabilities]
        for row in rows
    ]
    content = {"seconds": round(seconds, 3), "rows": listed}
    return json.dumps(content, ensure_ascii=False, allow_nan=False)


def read_seconds(path: Path) -> float:
    """How long the work of an artefact took; 0 if it cannot be told.

    They stand first in its text: the rows, which are long, are not read.
    """
    try:
        with path.open("rb") as stream:
            found = _SECONDS.match(stream.read(_HEAD_BYTES))
    except OSError:
        return 0.0
    return float(found[1]) if found else 0.0


def load_artefact(
    path: Path, items: Sequence[Item], classes: int
) -> tuple[Row, ...] | None:
    """The rows for exactly *items*, in order; None if not there or damaged.

    Raises:
        OSError: the disk cannot be read now.
    """
    try:
        rows = _parse(path.read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError, TypeError, KeyError):
        return None
    expected = [(item.id, item.file) for item in items]
    if [(row.id, row.file) for row in rows] != expected:
        return None
    return rows if all(_is_sound(row, classes) for row in rows) else None


def summarise(path: Path) -> Summary | None:
    """Images and unreadable ones of an artefact, cached; None if it is not usable."""
    try:
        status = path.stat()
        return _summarise(path, status.st_mtime_ns, status.st_ino)
    except (OSError, ValueError, TypeError, KeyError):
        return None


@lru_cache(maxsize=8192)
def _summarise(path: Path, mtime_ns: int, inode: int) -> Summary:
    rows = _parse(path.read_text(encoding="utf-8"))
    unreadable = tuple(row for row in rows if row.unreadable)
    return Summary(len(rows), unreadable, mtime_ns / 1e9)


def _error(row: Row) -> dict[str, str]:
    return {"code": row.code, "detail": row.detail}


def _parse(text: str) -> tuple[Row, ...]:
    return tuple(_row(*each) for each in parse_json(text)["rows"])


def _row(id_: str, file: str, outcome: Any) -> Row:
    if isinstance(outcome, dict):
        return Row(id_, file, code=outcome["code"], detail=outcome["detail"])
    return Row(id_, file, tuple(float(value) for value in outcome))


def _is_sound(row: Row, classes: int) -> bool:
    if row.unreadable:
        return True
    if len(row.probabilities) != classes:
        return False
    return all(math.isfinite(each) and 0 <= each <= 1 for each in row.probabilities)

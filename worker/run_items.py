"""The images of a run and what became of them, a shard at a time: jobs may be large."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from pathlib import Path

from models.errors import NotFoundError
from worker.artefacts import Row, load_artefact
from worker.item_file import find_in_lines, read_line
from worker.items import Item
from worker.manifest import INLINE_SCHEMA, read_inline_items
from worker.run import Run


def shard_items(run: Run, number: int) -> tuple[Item, ...]:
    """The images of shard *number*, in submission order.

    Raises:
        NotFoundError: the manifest or its item file is gone or damaged.
        OSError: the disk cannot be read now.
    """
    start, stop = run.manifest.shard_bounds(number)
    if _is_inline(run):
        return _inline_items(run)[start:stop]
    with _translated(run):
        items = read_line(run.folder, number)
        if len(items) != stop - start:
            raise ValueError(f"shard {number} has {len(items)} images")
        return items


def shard_rows(run: Run, number: int) -> tuple[Row, ...] | None:
    """The rows of a finished shard; None if it is not there or damaged.

    Raises:
        NotFoundError: the manifest or its item file is gone or damaged.
        OSError: the disk cannot be read now.
    """
    classes = len(run.manifest.request.labels)
    return load_artefact(run.shard_path(number), shard_items(run, number), classes)


def find_item(run: Run, image_id: str) -> Item | None:
    """The image of that id; None if there is none.

    Raises:
        NotFoundError: the manifest or its item file is gone or damaged.
        OSError: the disk cannot be read now.
    """
    if _is_inline(run):
        found = (item for item in _inline_items(run) if item.id == image_id)
        return next(found, None)
    with _translated(run):
        return find_in_lines(run.folder, image_id)


def _is_inline(run: Run) -> bool:
    return run.manifest.schema == INLINE_SCHEMA


def _inline_items(run: Run) -> tuple[Item, ...]:
    path = run.folder / "manifest.json"
    with _translated(run):
        return _read_inline(path, path.stat().st_mtime_ns)


@lru_cache(maxsize=1)
def _read_inline(path: Path, _mtime_ns: int) -> tuple[Item, ...]:
    return read_inline_items(path.read_text(encoding="utf-8"))


@contextmanager
def _translated(run: Run) -> Iterator[None]:
    try:
        yield
    except (FileNotFoundError, ValueError, TypeError) as error:
        message = f"the list of job {run.id}'s images is damaged: submit it again"
        raise NotFoundError(message, code="job_not_found") from error

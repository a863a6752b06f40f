"""Opens what lies below a folder by a relative path; no link is followed on the way.

Each folder is opened in the one before it, so that one which becomes a link while a job
runs leads nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.text import is_writable

_FOLDER: Final = os.O_RDONLY | os.O_DIRECTORY


def split_inside(path: str) -> tuple[str, ...]:
    """The folders in a relative *path*, then its name.

    Raises:
        InvalidRequestError: it is empty, leads elsewhere, or cannot be a file's.
    """
    parts = tuple(part for part in path.split("/") if part not in {"", "."})
    usable = is_writable(path) and "\\" not in path and ".." not in parts
    if not parts or not usable or path.startswith("/"):
        message = (
            f"path {path[:200]!a} is empty, absolute, no UTF-8, or holds '..', a "
            "backslash or a control character: write it relative, with '/'"
        )
        raise InvalidRequestError(message, code="invalid_input")
    return parts


@contextmanager
def opened_folder(folder: Path, parts: Sequence[str]) -> Iterator[int]:
    """A descriptor of the folder that *parts* lead to from *folder*.

    Raises:
        OSError: there is none, or a link is on the way.
    """
    descriptor = os.open(folder, _FOLDER)
    try:
        for part in parts:
            inner = os.open(part, _FOLDER | os.O_NOFOLLOW, dir_fd=descriptor)
            os.close(descriptor)
            descriptor = inner
        yield descriptor
    finally:
        os.close(descriptor)

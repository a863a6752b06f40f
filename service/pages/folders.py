"""Names of folders that could be submitted, as suggestions for a form."""

from __future__ import annotations

import os
from collections import deque
from itertools import islice
from pathlib import Path
from typing import Final

MAX_SUGGESTIONS: Final = 100
MAX_ENTRIES: Final = 2_000
"""Looked at in each folder: one of 500,000 photos must not hold up a page."""

_DEPTH: Final = 3


def suggest_folders(root: Path) -> list[str]:
    """Folders below *root*, relative to it, sorted; none if it cannot be read.

    Links and hidden folders are left out, as are those deeper than three levels.
    """
    found: list[str] = []
    waiting = deque([(root, 1)])
    while waiting and len(found) < MAX_SUGGESTIONS:
        folder, depth = waiting.popleft()
        for child in _subfolders(folder):
            found.append(child.relative_to(root).as_posix())
            if depth < _DEPTH:
                waiting.append((child, depth + 1))
    return sorted(found[:MAX_SUGGESTIONS])


def _subfolders(folder: Path) -> list[Path]:
    try:
        with os.scandir(folder) as entries:
            return sorted(
                Path(entry.path)
                for entry in islice(entries, MAX_ENTRIES)
                if entry.is_dir(follow_symlinks=False) and _is_shown(entry.name)
            )
    except OSError:
        return []


def _is_shown(name: str) -> bool:
    return not name.startswith(".") and name.isprintable()

"""How long-running steps tell how far they are; the command line draws the bars."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (what is being done, steps done, steps in all)."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """Tell nobody."""

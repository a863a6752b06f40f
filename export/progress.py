"""Progress reports of long-running steps; the command line draws bars from them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

Progress: TypeAlias = Callable[[str, int, int], None]
"""Called with (name of the step, units done, units in all)."""


def silent(_stage: str, _done: int, _total: int) -> None:
    """A `Progress` that reports nothing."""

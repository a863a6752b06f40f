"""What a check found, and where: for people, for the manifest and for ``--strict``."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from models.text import printable

MAX_KEPT: Final = 1000
MAX_NAMED: Final = 10


@dataclass(frozen=True)
class Finding:
    """One kind of trouble: how often, where (the worst first), and the remedy."""

    kind: str
    count: int
    remedy: str
    examples: tuple[str, ...]


def find(kind: str, examples: Sequence[str], remedy: str) -> tuple[Finding, ...]:
    """A finding of that kind, or nothing if there is no example."""
    if not examples:
        return ()
    shown = tuple(map(printable, examples[:MAX_KEPT]))
    return (Finding(kind, len(examples), remedy, shown),)

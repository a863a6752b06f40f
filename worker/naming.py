"""Many names in one message: how many there are, and the first of them."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final, Self

MAX_SPELLED: Final = 10
_LONGEST: Final = 80


@dataclass
class Named:
    """Counts names and keeps a few; a million of them take no memory."""

    count: int = 0
    first: list[str] = field(default_factory=list)

    @classmethod
    def of(cls, names: Iterable[str]) -> Self:
        """All *names*."""
        made = cls()
        for name in names:
            made.add(name)
        return made

    def add(self, name: str) -> None:
        """Count one more."""
        self.count += 1
        if len(self.first) < MAX_SPELLED:
            self.first.append(name)

    def __str__(self) -> str:
        if not self.count:
            return "none"
        more = self.count - len(self.first)
        names = ", ".join(repr(name[:_LONGEST]) for name in self.first)
        return names + (f" and {more:,} more" if more else "")

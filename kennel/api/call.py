"""One thing that a client asks for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import TypeAlias

Body: TypeAlias = Callable[[], bytes | Iterable[bytes]]
"""Makes the body, anew for each attempt."""


@dataclass(frozen=True)
class Call:
    """A request that has not been sent yet.

    Attributes:
        path: with its query.
        repeatable: whether doing it twice is the same as doing it once.
        divisible: whether what is too slow as a whole is sent in parts instead.
        answer_seconds: how long one answer may take; None: as the client says.
        total_seconds: how long all attempts may take; None: as long as that many answers.
    """

    method: str
    path: str
    headers: Mapping[str, str] = field(default_factory=dict)
    body: Body | None = None
    repeatable: bool = True
    divisible: bool = False
    answer_seconds: float | None = None
    total_seconds: float | None = None

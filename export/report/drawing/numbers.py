"""How figures are written, the same in every section."""

from __future__ import annotations

import math
from typing import Final

_SPACE: Final = "\N{NO-BREAK SPACE}"


def percent(share: float, digits: int = 1) -> str:
    """0.8734 -> 87.3 %, never broken before the sign; "-" where there is no share."""
    return f"{100 * share:.{digits}f}{_SPACE}%" if math.isfinite(share) else "-"


def loss(value: float) -> str:
    """A log loss, in nats, with the four digits that leaderboards compare."""
    return f"{value:.4f}"


def count(number: int) -> str:
    """A count with its thousands apart."""
    return f"{number:,}"


def plural(number: int, noun: str) -> str:
    """1 photo, 2 photos."""
    return f"{number:,} {noun}{'' if number == 1 else 's'}"

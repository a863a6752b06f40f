"""How fast a run advances lately, from when its artefacts were written.

Lately and not since the start: other jobs come and go, and a run may rest for days.
"""

from __future__ import annotations

import time
from collections.abc import Iterable
from typing import Final, NamedTuple

RECENT_SECONDS: Final = 60.0
STALE_SECONDS: Final = 900.0
"""What was finished before that says nothing about now."""


class Step(NamedTuple):
    """So many images were finished at that moment, in seconds since the epoch."""

    moment: float
    images: int


def images_per_second(
    steps: Iterable[Step], begun: float | None, now: float | None = None
) -> float | None:
    """The speed of the last minute; None where nothing tells it.

    *begun* is when work began (again): what was finished before does not count. Shards
    that take longer than a minute are told by the last two of them.
    """
    if begun is None:
        return None
    moment = time.time() if now is None else now
    oldest = max(begun, moment - STALE_SECONDS)
    known = sorted(each for each in [Step(begun, 0), *steps] if each.moment >= oldest)
    older = [each for each in known if each.moment < moment - RECENT_SECONDS]
    counted = known[min(max(len(older) - 1, 0), max(len(known) - 3, 0)) :]
    finished = counted[1:]
    if not finished:
        return None
    # Once the next one is overdue, the wait for it counts: who stands still slows down.
    waited = (moment - counted[0].moment) * len(finished) / (len(finished) + 1)
    seconds = max(finished[-1].moment - counted[0].moment, waited)
    return sum(each.images for each in finished) / seconds if seconds > 0 else None

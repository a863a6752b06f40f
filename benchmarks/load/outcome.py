"""What became of the requests of a load."""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Self


@dataclass(frozen=True)
class Outcome:
    """One request.

    Attributes:
        status: HTTP status; 0: the connection broke.
        seconds: from the moment at which it should have been sent to the whole answer.
        retry_after: the answer says when to try again.
    """

    status: int
    seconds: float
    retry_after: bool = False


@dataclass(frozen=True)
class LoadResult:
    """All requests of a load.

    Attributes:
        seconds: from the first request to the last answer.
        cpu_seconds: what the load itself cost.
    """

    outcomes: tuple[Outcome, ...]
    seconds: float
    cpu_seconds: float

    @property
    def rate(self) -> float:
        """Requests answered with 200, a second."""
        return len(self.of_status(200)) / self.seconds

    @property
    def statuses(self) -> dict[int, int]:
        counts = Counter(outcome.status for outcome in self.outcomes)
        return dict(sorted(counts.items()))

    def of_status(self, status: int) -> list[Outcome]:
        return [outcome for outcome in self.outcomes if outcome.status == status]

    def milliseconds(self, percent: float, status: int = 200) -> float:
        """The *percent*-th percentile of the requests answered with *status*."""
        return 1000 * percentile(
            [outcome.seconds for outcome in self.of_status(status)], percent
        )

    def to_json(self) -> str:
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Self:
        content = json.loads(text)
        outcomes = tuple(Outcome(**each) for each in content.pop("outcomes"))
        return cls(outcomes, **content)


def percentile(values: Sequence[float], percent: float) -> float:
    """The smallest value that *percent* of *values* do not exceed; NaN for none."""
    if not values:
        return math.nan
    rank = math.ceil(len(values) * percent / 100)
    return sorted(values)[max(rank, 1) - 1]

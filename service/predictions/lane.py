"""One lane: the requests that may share a call to the model server, and when they go."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import KennelError
from models.images.codec import Pixels
from models.wire.client import Cancellation
from models.wire.messages import ModelRef, Prediction

SLOW_SECONDS: Final = 0.02
"""A model that takes longer for an image is slow: ten times what a call costs, and more."""


GATHERED: Final = 8
"""Images that go without waiting for more: twice as many cost a third less each (measured)."""


class Key(NamedTuple):
    """What requests have in common that may share a call."""

    model: ModelRef
    shape: tuple[int, ...]


@dataclass(eq=False)
class Waiting:
    """A request in its lane; *inbox* gets the group that it leads, or its share.

    Attributes:
        deadline: by the monotonic clock.
        has_left: nobody waits for its answer any more.
        call: the one that it is part of.
    """

    images: Sequence[Pixels]
    deadline: float
    has_left: bool = False
    call: Call | None = None
    inbox: SimpleQueue[Group | Share] = field(default_factory=SimpleQueue)

    def seconds_left(self) -> float:
        """Seconds to the deadline, at least one millisecond: 0 would mean no limit."""
        return max(self.deadline - time.monotonic(), 0.001)


Group: TypeAlias = list[Waiting]
"""Requests that one call answers, in the order of its rows."""


@dataclass(frozen=True)
class Call:
    """A call under way, for *group*."""

    group: Group
    cancellation: Cancellation

    def is_for_nobody(self) -> bool:
        """Whether all in its group have left."""
        return all(each.has_left for each in self.group)


@dataclass(frozen=True)
class Share:
    """One request's part of what a call gave, and the seconds that the call took."""

    outcome: Prediction | KennelError
    seconds: float
    group_size: int


@dataclass
class Arrival:
    """A request whose images are being made; others wait for it until it is there."""

    is_awaited: bool = True


@dataclass
class Lane:
    """Calls under way and requests that wait; whoever changes it holds the lanes' lock.

    Attributes:
        images: in the calls that are under way.
        slow: the last call says that the model is.
        coming: requests whose images are being made.
    """

    calls: int = 0
    images: int = 0
    slow: bool = False
    coming: int = 0
    waiting: deque[Waiting] = field(default_factory=deque)

    def start(self, group: Group) -> Group:
        """Begin the call for *group*."""
        self.calls += 1
        self.images += _count(group)
        return group

    def end(self, group: Group, seconds: float) -> None:
        """The call for *group* took *seconds*."""
        # As many images as were under way had to share these seconds (Little's law).
        self.slow = seconds > SLOW_SECONDS * self.images
        self.calls -= 1
        self.images -= _count(group)

    def following(self) -> Group:
        """Those who may make the next call now; none: all have to wait."""
        if self.slow or (self.calls == 0 and self._has_gathered()):
            return _next_group(self.waiting)
        return []

    def is_used(self) -> bool:
        """Whether anybody would miss it."""
        return bool(self.calls or self.coming or self.waiting)

    def _has_gathered(self) -> bool:
        return self.coming == 0 or _count(self.waiting) >= GATHERED


def _next_group(waiting: deque[Waiting]) -> Group:
    group: Group = []
    room = MAX_BATCH_SIZE
    while waiting and len(waiting[0].images) <= room:
        group.append(waiting.popleft())
        room -= len(group[-1].images)
    return group


def _count(group: Iterable[Waiting]) -> int:
    return sum(len(each.images) for each in group)

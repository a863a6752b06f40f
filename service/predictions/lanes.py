"""Who waits with whom: requests that may share one call to the model server.

One call at a time in a lane keeps the calls few: to a fast model a call costs more than
its images. With a slow model that hardly matters. It is sent each request at once, and
its server, which sees those of all processes, fills the batches better.

A lane exists only while it is used, because clients choose versions and labels. Nothing
is sent here: see `service.predictions.batching`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import KennelError
from models.images import Pixels
from models.wire.client import ModelRef, Prediction

SLOW_SECONDS: Final = 0.02
"""A model that takes longer for an image is slow: ten times what a call costs, and more."""


class Key(NamedTuple):
    """What requests have in common that may share a call."""

    model: ModelRef
    shape: tuple[int, ...]


@dataclass(eq=False)
class Waiting:
    """A request in its lane; *inbox* gets the group that it leads, or its share.

    Attributes:
        deadline: by the monotonic clock.
    """

    images: Sequence[Pixels]
    deadline: float
    inbox: SimpleQueue[Group | Share] = field(default_factory=SimpleQueue)

    def seconds_left(self) -> float:
        """Seconds to the deadline, at least one millisecond: 0 would mean no limit."""
        return max(self.deadline - time.monotonic(), 0.001)


Group: TypeAlias = list[Waiting]
"""Requests that one call answers, in the order of its rows."""


@dataclass(frozen=True)
class Share:
    """One request's part of what a call gave, and the seconds that the call took."""

    outcome: Prediction | KennelError
    seconds: float
    group_size: int


@dataclass
class _Lane:
    calls: int = 0
    images: int = 0
    slow: bool = False
    waiting: deque[Waiting] = field(default_factory=deque)

    def start(self, group: Group) -> Group:
        self.calls += 1
        self.images += _count(group)
        return group

    def end(self, group: Group, seconds: float) -> None:
        # As many images as were under way had to share these seconds (Little's law).
        self.slow = seconds > SLOW_SECONDS * self.images
        self.calls -= 1
        self.images -= _count(group)

    def is_open(self) -> bool:
        return self.calls == 0 or self.slow


class Lanes:
    """The lanes of one process; thread-safe."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._lanes: dict[Key, _Lane] = {}
        self._lock = threading.Lock()

    def waiting(self) -> dict[Key, int]:
        """How many requests wait in each lane that is in use."""
        with self._lock:
            return {key: len(lane.waiting) for key, lane in self._lanes.items()}

    def enter(self, key: Key, request: Waiting) -> Group | None:
        """The group to send now; None: wait for what comes into the inbox."""
        with self._lock:
            lane = self._lanes.setdefault(key, _Lane())
            if lane.is_open():
                return lane.start([request])
            lane.waiting.append(request)
            return None

    def leave(self, key: Key, request: Waiting) -> None:
        """Wait no longer; whoever was given a group to send keeps that duty."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is not None and request in lane.waiting:
                lane.waiting.remove(request)

    def end(self, key: Key, group: Group, seconds: float) -> None:
        """The call for *group* took *seconds*; those who wait may make the next one.

        It is made by the request that can wait longest, so that its own deadline is
        the call's, and nobody is held beyond theirs.
        """
        with self._lock:
            lane = self._lanes[key]
            lane.end(group, seconds)
            while lane.is_open() and (following := _next_group(lane.waiting)):
                leader = max(following, key=lambda each: each.deadline)
                leader.inbox.put(lane.start(following))
            if lane.calls == 0:
                del self._lanes[key]


def _next_group(waiting: deque[Waiting]) -> Group:
    group: Group = []
    room = MAX_BATCH_SIZE
    while waiting and len(waiting[0].images) <= room:
        group.append(waiting.popleft())
        room -= len(group[-1].images)
    return group


def _count(group: Group) -> int:
    return sum(len(each.images) for each in group)

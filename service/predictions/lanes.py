"""Who waits with whom: requests that may share one call to the model server.

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
from typing import NamedTuple, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import KennelError
from models.images import Pixels
from models.wire.client import ModelRef, Prediction


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
    waiting: deque[Waiting] = field(default_factory=deque)


class Lanes:
    """The lanes of one process; thread-safe."""

    def __init__(self, calls: int) -> None:
        """Let at most *calls* calls of one lane be under way at a time."""
        self._calls = calls
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
            if lane.calls >= self._calls:
                lane.waiting.append(request)
                return None
            lane.calls += 1
            return [request]

    def leave(self, key: Key, request: Waiting) -> None:
        """Wait no longer; whoever was given a group to send keeps that duty."""
        with self._lock:
            lane = self._lanes.get(key)
            if lane is not None and request in lane.waiting:
                lane.waiting.remove(request)

    def advance(self, key: Key) -> None:
        """A call has ended: let those who wait make the next one.

        It is made by the request that can wait longest, so that its own deadline is
        the call's, and nobody is held beyond theirs.
        """
        with self._lock:
            lane = self._lanes[key]
            group = _next_group(lane.waiting)
            if group:
                max(group, key=lambda each: each.deadline).inbox.put(group)
                return
            lane.calls -= 1
            if lane.calls == 0:
                del self._lanes[key]


def _next_group(waiting: deque[Waiting]) -> Group:
    group: Group = []
    room = MAX_BATCH_SIZE
    while waiting and len(waiting[0].images) <= room:
        group.append(waiting.popleft())
        room -= len(group[-1].images)
    return group

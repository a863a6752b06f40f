"""Who waits with whom: requests that may share one call to the model server.

One call at a time in a lane keeps the calls few: to a fast model a call costs more than
its images. With a slow model that hardly matters. It is sent each request at once, and
its server, which sees those of all processes, fills the batches better.

While photos of other requests are being decoded, those that are ready for a fast model
wait for them, so that a busy process makes few calls; there is no timer, and whoever is
alone goes at once.

A lane exists only while it is used, because clients choose versions and labels. Nothing
is sent here: see `service.predictions.batching`.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from queue import SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import KennelError
from models.images import Pixels
from models.wire.client import ModelRef, Prediction

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
class Arrival:
    """A request whose images are being made; others wait for it until it is there."""

    is_awaited: bool = True


@dataclass
class _Lane:
    calls: int = 0
    images: int = 0
    slow: bool = False
    coming: int = 0
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

    def following(self) -> Group:
        """Those who may make the next call now; none: all have to wait."""
        if self.slow or (self.calls == 0 and self._has_gathered()):
            return _next_group(self.waiting)
        return []

    def is_used(self) -> bool:
        return bool(self.calls or self.coming or self.waiting)

    def _has_gathered(self) -> bool:
        return self.coming == 0 or _count(self.waiting) >= GATHERED


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

    @contextmanager
    def expect(self, key: Key) -> Iterator[Arrival]:
        """Let those who wait in a lane know that images for it are being made.

        They enter it with the arrival inside the block, or never.
        """
        arrival = Arrival()
        with self._lock:
            lane = self._lanes.setdefault(key, _Lane())
            lane.coming += 1
        try:
            yield arrival
        finally:
            if arrival.is_awaited:
                with self._lock:
                    lane.coming -= 1
                    self._hand_over(key, lane)

    def enter(
        self, key: Key, request: Waiting, arrival: Arrival | None = None
    ) -> Group | None:
        """The group to send now; None: wait for what comes into the inbox."""
        with self._lock:
            lane = self._lanes.setdefault(key, _Lane())
            lane.waiting.append(request)
            if arrival is not None and arrival.is_awaited:
                arrival.is_awaited = False
                lane.coming -= 1
            return self._hand_over(key, lane, request)

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
            self._hand_over(key, lane)

    def _hand_over(
        self, key: Key, lane: _Lane, entering: Waiting | None = None
    ) -> Group | None:
        own = None
        while following := lane.following():
            leader = max(following, key=lambda each: each.deadline)
            if leader is entering:
                own = lane.start(following)
            else:
                leader.inbox.put(lane.start(following))
        if not lane.is_used():
            self._lanes.pop(key, None)
        return own


def _next_group(waiting: deque[Waiting]) -> Group:
    group: Group = []
    room = MAX_BATCH_SIZE
    while waiting and len(waiting[0].images) <= room:
        group.append(waiting.popleft())
        room -= len(group[-1].images)
    return group


def _count(group: Iterable[Waiting]) -> int:
    return sum(len(each.images) for each in group)

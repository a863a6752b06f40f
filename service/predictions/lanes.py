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
from collections.abc import Iterator
from contextlib import contextmanager

from models.contract import MAX_BATCH_SIZE
from models.wire.client import Cancellation
from service.predictions.lane import (
    GATHERED,
    SLOW_SECONDS,
    Arrival,
    Call,
    Group,
    Key,
    Lane,
    Waiting,
)


class Lanes:
    """The lanes of one process; thread-safe."""

    def __init__(self) -> None:
        """Nobody waits yet."""
        self._lanes: dict[Key, Lane] = {}
        # By the name of a model; who is served is known, so they are few.
        self._slow: dict[str, bool] = {}
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
            lane = self._lanes.setdefault(key, Lane())
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
            lane = self._lanes.setdefault(key, Lane())
            if not request.has_left:
                lane.waiting.append(request)
            if arrival is not None and arrival.is_awaited:
                arrival.is_awaited = False
                lane.coming -= 1
            return self._hand_over(key, lane, request)

    def leave(self, key: Key, request: Waiting) -> None:
        """Wait no longer; whoever was given a group to send keeps that duty.

        A call that is for nobody then is broken off.
        """
        with self._lock:
            request.has_left = True
            lane = self._lanes.get(key)
            if lane is not None and request in lane.waiting:
                lane.waiting.remove(request)
            call = request.call
            is_over = call is not None and call.is_for_nobody()
        if call is not None and is_over:
            call.cancellation.cancel()

    def cancellation(self, key: Key, group: Group | None = None) -> Cancellation | None:
        """What breaks off the call for *group* when all in it have left.

        None: the model is fast, and the call over before that would help. Requests to a
        slow one that share no call are sent in pieces.
        """
        with self._lock:
            slow = self._slow.get(key.model.name)
            if slow is False:
                return None
            members = group or []
            alone = len(members) <= 1
            cancellation = Cancellation(GATHERED if slow and alone else MAX_BATCH_SIZE)
            call = Call(members, cancellation)
            for each in members:
                each.call = call
            is_over = bool(members) and call.is_for_nobody()
        if is_over:
            cancellation.cancel()
        return cancellation

    def note_speed(self, key: Key, images: int, seconds: float) -> None:
        """A call that no lane knew of took *seconds* for *images*."""
        with self._lock:
            self._slow[key.model.name] = seconds > SLOW_SECONDS * images

    def end(self, key: Key, group: Group, seconds: float) -> None:
        """The call for *group* took *seconds*; those who wait may make the next one.

        It is made by the request that can wait longest, so that its own deadline is
        the call's, and nobody is held beyond theirs.
        """
        with self._lock:
            lane = self._lanes[key]
            lane.end(group, seconds)
            self._slow[key.model.name] = lane.slow
            self._hand_over(key, lane)

    def _hand_over(
        self, key: Key, lane: Lane, entering: Waiting | None = None
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

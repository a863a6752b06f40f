"""Batching: the images of several requests go to the model server in one call.

A call's first image costs three times as much as each further one (measured: 1.5 ms of a
core on both sides, and 0.5). While a call is under way, images for the same model and of
the same size gather in their batch queue, and the next call takes all of them. A request
that finds its queue idle is sent at once by its own thread: no timer, no hand-over.

One call at a time in a queue keeps the calls few: to a fast model a call costs more than
its images. With a slow model that hardly matters. It is sent each request at once, and
its server, which sees those of all processes, fills the batches better.

While photos of other requests are being decoded, those that are ready for a fast model
wait for them, so that a busy process makes few calls; a request that is alone goes at
once. A queue exists only while it is used, because clients choose versions and labels.
"""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from functools import partial
from queue import Empty, SimpleQueue
from typing import Final, NamedTuple, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import (
    KennelError,
    ModelContractError,
    ModelUnavailableError,
    detached,
)
from models.images.codec import Pixels
from models.wire.client import Cancellation, ModelServer
from models.wire.messages import ModelRef, Prediction
from service.http.budget import Budget
from service.predict.decoding import is_quick

SLOW_SECONDS: Final = 0.02
"""A model that takes longer for an image is slow: ten times what a call costs, and more."""

GATHERED: Final = 8
"""Images sent without waiting for more: twice as many cost a third less each (measured)."""


@dataclass(frozen=True)
class Batcher:
    """Predicts through *client*, several requests at a time; thread-safe."""

    client: ModelServer
    queues: BatchQueues

    @contextmanager
    def expect(
        self, images: Sequence[bytes], model: ModelRef, size: tuple[int, int]
    ) -> Iterator[Arrival | None]:
        """In the block, *images* for *model* are decoded to *size* (height, width).

        Other requests wait for a single quick image, and for no others.
        """
        if not is_quick(images):
            yield None
            return
        with self.queues.expect(QueueKey(model, (*size, 3))) as arrival:
            yield arrival

    def predict(
        self,
        images: Sequence[Pixels],
        model: ModelRef,
        budget: Budget,
        arrival: Arrival | None = None,
    ) -> Prediction:
        """The answer of *model* for *images* of one size, all by the same version.

        *arrival*: from `expect`, if other requests waited for these images.

        Raises:
            NotFoundError: no such model, version or label.
            ModelUnavailableError: not now (also: overloaded, budget spent).
            ModelContractError: the model server's answer cannot be used.
        """
        if len(images) >= MAX_BATCH_SIZE:
            return self._predict_alone(images, model, budget)
        share = self._share(images, model, budget, arrival)
        if isinstance(share.outcome, Prediction):
            return share.outcome
        if isinstance(share.outcome, ModelContractError) and share.group_size > 1:
            # Perhaps another request's images were refused, not ours.
            return self._predict_alone(images, model, budget)
        # A new one: several threads raise it, and each adds its own traceback.
        error = share.outcome
        raise detached(error) from error

    def _predict_alone(
        self, images: Sequence[Pixels], model: ModelRef, budget: Budget
    ) -> Prediction:
        key = QueueKey(model, images[0].shape)
        cancellation = self.queues.cancellation(key)
        began = time.perf_counter()
        with budget.measure("infer"), cancelled_on_disconnect(budget, cancellation):
            prediction = self.client.predict(images, model, budget.left(), cancellation)
        self.queues.note_speed(key, len(images), time.perf_counter() - began)
        return prediction

    def _share(
        self,
        images: Sequence[Pixels],
        model: ModelRef,
        budget: Budget,
        arrival: Arrival | None,
    ) -> Share:
        request = QueuedRequest(images, time.monotonic() + budget.left())
        key = QueueKey(model, images[0].shape)
        with budget.disconnect.calling(partial(self._leave, key, request)):
            with budget.measure("queue"):
                group = self.queues.enter(key, request, arrival)
                turn = group or self._wait(key, request, budget)
            if isinstance(turn, Share):
                budget.add("queue", -turn.seconds)
            else:
                turn = self._send(key, turn, request)
        budget.disconnect.check()
        budget.add("infer", turn.seconds)
        return turn

    def _leave(self, key: QueueKey, request: QueuedRequest) -> None:
        self.queues.leave(key, request)
        gone = ModelUnavailableError("the call was cancelled before it began")
        request.inbox.put(Share(gone, 0.0, 1))

    def _wait(
        self, key: QueueKey, request: QueuedRequest, budget: Budget
    ) -> Group | Share:
        try:
            return request.inbox.get(timeout=request.seconds_left())
        except Empty:
            self.queues.leave(key, request)
        try:
            # A group that was handed over in the last moment must still be sent.
            return request.inbox.get_nowait()
        except Empty:
            raise budget.exhausted() from None

    def _send(self, key: QueueKey, group: Group, leader: QueuedRequest) -> Share:
        outcome: Prediction | KennelError = ModelUnavailableError(
            "the call to the model server broke off: try again"
        )
        images = [image for each in group for image in each.images]
        began = time.perf_counter()
        try:
            outcome = self.client.predict(
                images,
                key.model,
                leader.seconds_left(),
                self.queues.cancellation(key, group),
            )
        except KennelError as error:
            outcome = detached(error)
        finally:
            seconds = time.perf_counter() - began
            self.queues.end(key, group, seconds)
            shares = dict(zip(group, _shares(group, outcome, seconds), strict=True))
            mine = shares.pop(leader)
            for request, share in shares.items():
                request.inbox.put(share)
        return mine


@contextmanager
def cancelled_on_disconnect(
    budget: Budget, cancellation: Cancellation | None
) -> Iterator[None]:
    """In the block, *cancellation* ends the calls when the client of *budget* disconnects.

    Raises:
        ClientGoneError: it did.
    """
    if cancellation is None:
        yield
        return
    try:
        with budget.disconnect.calling(cancellation.cancel):
            yield
    except ModelUnavailableError:
        budget.disconnect.check()
        raise


def _shares(
    group: Group, outcome: Prediction | KennelError, seconds: float
) -> Iterator[Share]:
    start = 0
    for request in group:
        end = start + len(request.images)
        part = outcome
        if isinstance(outcome, Prediction) and len(group) > 1:
            rows = slice(start, end)
            part = replace(
                outcome,
                probabilities=outcome.probabilities[rows],
                logits=outcome.logits[rows],
            )
        yield Share(part, seconds, len(group))
        start = end


class BatchQueues:
    """The queues of one process; thread-safe."""

    def __init__(self) -> None:
        """No queue before a request comes."""
        self._queues: dict[QueueKey, BatchQueue] = {}
        # By the name of a model: served models are known, so they are few.
        self._slow: dict[str, bool] = {}
        self._lock = threading.Lock()

    def waiting(self) -> dict[QueueKey, int]:
        """How many requests wait in each queue that is in use."""
        with self._lock:
            return {key: len(queue.waiting) for key, queue in self._queues.items()}

    @contextmanager
    def expect(self, key: QueueKey) -> Iterator[Arrival]:
        """Let the requests of a queue know that images for it are being decoded.

        These enter the queue with the arrival inside the block, or never.
        """
        arrival = Arrival()
        with self._lock:
            queue = self._queues.setdefault(key, BatchQueue())
            queue.coming += 1
        try:
            yield arrival
        finally:
            if arrival.is_awaited:
                with self._lock:
                    queue.coming -= 1
                    self._hand_over(key, queue)

    def enter(
        self, key: QueueKey, request: QueuedRequest, arrival: Arrival | None = None
    ) -> Group | None:
        """The group to send now; None: wait for what comes into the inbox."""
        with self._lock:
            queue = self._queues.setdefault(key, BatchQueue())
            if not request.has_left:
                queue.waiting.append(request)
            if arrival is not None and arrival.is_awaited:
                arrival.is_awaited = False
                queue.coming -= 1
            return self._hand_over(key, queue, request)

    def leave(self, key: QueueKey, request: QueuedRequest) -> None:
        """Remove *request*; if it was given a group to send, it still has to send it.

        A call whose requests have all left is cancelled.
        """
        with self._lock:
            request.has_left = True
            queue = self._queues.get(key)
            if queue is not None and request in queue.waiting:
                queue.waiting.remove(request)
            call = request.call
            is_over = call is not None and call.is_abandoned()
        if call is not None and is_over:
            call.cancellation.cancel()

    def cancellation(
        self, key: QueueKey, group: Group | None = None
    ) -> Cancellation | None:
        """The cancellation of the call for *group*, made when all its requests have left.

        None: the model is fast, and its call too short for that. A request to a
        slow model that shares no call is sent in pieces.
        """
        with self._lock:
            slow = self._slow.get(key.model.name)
            if slow is False:
                return None
            members = group or []
            alone = len(members) <= 1
            cancellation = Cancellation(GATHERED if slow and alone else MAX_BATCH_SIZE)
            call = BatchCall(members, cancellation)
            for each in members:
                each.call = call
            is_over = bool(members) and call.is_abandoned()
        if is_over:
            cancellation.cancel()
        return cancellation

    def note_speed(self, key: QueueKey, images: int, seconds: float) -> None:
        """A call outside the queues took *seconds* for *images*."""
        with self._lock:
            self._slow[key.model.name] = seconds > SLOW_SECONDS * images

    def end(self, key: QueueKey, group: Group, seconds: float) -> None:
        """The call for *group* took *seconds*; waiting requests may make the next one.

        The request that can wait longest makes it, so that its own deadline is the
        call's, and no request is held beyond its deadline.
        """
        with self._lock:
            queue = self._queues[key]
            queue.end(group, seconds)
            self._slow[key.model.name] = queue.slow
            self._hand_over(key, queue)

    def _hand_over(
        self, key: QueueKey, queue: BatchQueue, entering: QueuedRequest | None = None
    ) -> Group | None:
        own = None
        while following := queue.following():
            leader = max(following, key=lambda each: each.deadline)
            if leader is entering:
                own = queue.start(following)
            else:
                leader.inbox.put(queue.start(following))
        if not queue.is_used():
            self._queues.pop(key, None)
        return own


class QueueKey(NamedTuple):
    """The model and the image shape that requests of one call share."""

    model: ModelRef
    shape: tuple[int, ...]


@dataclass(eq=False)
class QueuedRequest:
    """A request in its queue; *inbox* gets the group that it leads, or its share.

    Attributes:
        deadline: by the monotonic clock.
        has_left: its client disconnected, or its deadline passed.
        call: the call that answers it.
    """

    images: Sequence[Pixels]
    deadline: float
    has_left: bool = False
    call: BatchCall | None = None
    inbox: SimpleQueue[Group | Share] = field(default_factory=SimpleQueue)

    def seconds_left(self) -> float:
        """Seconds to the deadline, at least one millisecond: 0 would mean no limit."""
        return max(self.deadline - time.monotonic(), 0.001)


Group: TypeAlias = list[QueuedRequest]
"""Requests that one call answers, in the order of its rows."""


@dataclass(frozen=True)
class BatchCall:
    """A call under way, for *group*."""

    group: Group
    cancellation: Cancellation

    def is_abandoned(self) -> bool:
        """Whether all requests of its group have left."""
        return all(each.has_left for each in self.group)


@dataclass(frozen=True)
class Share:
    """One request's part of the outcome of a call, and the seconds that the call took."""

    outcome: Prediction | KennelError
    seconds: float
    group_size: int


@dataclass
class Arrival:
    """A request whose images are being decoded; others wait until it enters the queue."""

    is_awaited: bool = True


@dataclass
class BatchQueue:
    """Calls under way and requests that wait; changed under the queues' lock.

    Attributes:
        images: in the calls that are under way.
        slow: whether the model was slow in the last call.
        coming: requests whose images are being decoded.
    """

    calls: int = 0
    images: int = 0
    slow: bool = False
    coming: int = 0
    waiting: deque[QueuedRequest] = field(default_factory=deque)

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
        """The requests of the next call, if it may be made now."""
        if self.slow or (self.calls == 0 and self._has_gathered()):
            return _next_group(self.waiting)
        return []

    def is_used(self) -> bool:
        """Whether a request waits, is coming, or is part of a call."""
        return bool(self.calls or self.coming or self.waiting)

    def _has_gathered(self) -> bool:
        return self.coming == 0 or _count(self.waiting) >= GATHERED


def _next_group(waiting: deque[QueuedRequest]) -> Group:
    group: Group = []
    room = MAX_BATCH_SIZE
    while waiting and len(waiting[0].images) <= room:
        group.append(waiting.popleft())
        room -= len(group[-1].images)
    return group


def _count(group: Iterable[QueuedRequest]) -> int:
    return sum(len(each.images) for each in group)

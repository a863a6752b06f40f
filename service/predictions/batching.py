"""Sends the images of several requests in one call to the model server.

A call's first image costs three times as much as each further one (measured: 1.5 ms of a
core on both sides, and 0.5). While a call is under way, images for the same model and of
the same size gather in their lane, and the next call takes all of them. A request that
finds its lane idle is sent at once by its own thread: no timer, no hand-over.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from queue import Empty

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
from service.budget import Budget
from service.predictions.decoding import is_quick
from service.predictions.lane import Arrival, Group, Key, Share, Waiting
from service.predictions.lanes import Lanes


@dataclass(frozen=True)
class Batcher:
    """Predicts through *client*, several requests at a time; thread-safe."""

    client: ModelServer
    lanes: Lanes

    @contextmanager
    def expect(
        self, images: Sequence[bytes], model: ModelRef, size: tuple[int, int]
    ) -> Iterator[Arrival | None]:
        """While *images* for *model* become pixels of *size* (height, width).

        Others wait for a quick one: it will not be long.
        """
        if not is_quick(images):
            yield None
            return
        with self.lanes.expect(Key(model, (*size, 3))) as arrival:
            yield arrival

    def predict(
        self,
        images: Sequence[Pixels],
        model: ModelRef,
        budget: Budget,
        arrival: Arrival | None = None,
    ) -> Prediction:
        """The answer of *model* for *images* of one size, all by the same version.

        *arrival*: of `expect`, if others have been waiting for these.

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
            # Perhaps a neighbour's images were refused, not ours.
            return self._predict_alone(images, model, budget)
        # A new one: several threads raise it, and each adds its own traceback.
        error = share.outcome
        raise detached(error) from error

    def _predict_alone(
        self, images: Sequence[Pixels], model: ModelRef, budget: Budget
    ) -> Prediction:
        key = Key(model, images[0].shape)
        cancellation = self.lanes.cancellation(key)
        began = time.perf_counter()
        with budget.measure("infer"), breaking_off(budget, cancellation):
            prediction = self.client.predict(images, model, budget.left(), cancellation)
        self.lanes.note_speed(key, len(images), time.perf_counter() - began)
        return prediction

    def _share(
        self,
        images: Sequence[Pixels],
        model: ModelRef,
        budget: Budget,
        arrival: Arrival | None,
    ) -> Share:
        request = Waiting(images, time.monotonic() + budget.left())
        key = Key(model, images[0].shape)
        with budget.hang_up.calling(partial(self._leave, key, request)):
            with budget.measure("queue"):
                group = self.lanes.enter(key, request, arrival)
                turn = group or self._wait(key, request, budget)
            if isinstance(turn, Share):
                budget.add("queue", -turn.seconds)
            else:
                turn = self._send(key, turn, request)
        budget.hang_up.check()
        budget.add("infer", turn.seconds)
        return turn

    def _leave(self, key: Key, request: Waiting) -> None:
        self.lanes.leave(key, request)
        gone = ModelUnavailableError("nobody waits for this answer any more")
        request.inbox.put(Share(gone, 0.0, 1))

    def _wait(self, key: Key, request: Waiting, budget: Budget) -> Group | Share:
        try:
            return request.inbox.get(timeout=request.seconds_left())
        except Empty:
            self.lanes.leave(key, request)
        try:
            # A group that was handed over in the last moment must still be sent.
            return request.inbox.get_nowait()
        except Empty:
            raise budget.exhausted() from None

    def _send(self, key: Key, group: Group, leader: Waiting) -> Share:
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
                self.lanes.cancellation(key, group),
            )
        except KennelError as error:
            outcome = detached(error)
        finally:
            seconds = time.perf_counter() - began
            self.lanes.end(key, group, seconds)
            shares = dict(zip(group, _shares(group, outcome, seconds), strict=True))
            mine = shares.pop(leader)
            for request, share in shares.items():
                request.inbox.put(share)
        return mine


@contextmanager
def breaking_off(budget: Budget, cancellation: Cancellation | None) -> Iterator[None]:
    """In the block, *cancellation* ends the calls when the client of *budget* goes.

    Raises:
        ClientGoneError: it did.
    """
    if cancellation is None:
        yield
        return
    try:
        with budget.hang_up.calling(cancellation.cancel):
            yield
    except ModelUnavailableError:
        budget.hang_up.check()
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

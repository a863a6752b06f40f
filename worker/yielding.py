"""How much a shard asks of the model: all it takes, or little while people wait.

Without online traffic one call is under way while the next is made, and calls grow for as
long as their answers come soon: what all workers have asked for is what somebody who comes
now has to wait for. With online traffic, and a model that is slow, calls are so short that
whoever comes in between hardly waits, one at a time over all workers, with a rest after
each. The rest is a multiple of the call, so that a job always goes on, at a fixed share of
its speed. When nobody has come for some seconds the rests end at once, and the short calls
a minute later: people come back.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Protocol, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.images.codec import Pixels
from models.wire.messages import ModelRef, Prediction

ANSWER_SECONDS: Final = 5.0
"""What an answer may take while nobody waits, the calls before it included: a full batch
of VGG16 on two cores, and a little. Two workers that sent nothing but full batches had
17 s of work before the model server when somebody came (measured)."""

FIRST_IMAGES: Final = 8
"""In the first calls of a shard; on a CPU 2 % dearer than full batches (VGG16)."""

CALL_SECONDS: Final = 0.3
"""What a call may take beside online traffic: two images of VGG16 on two cores."""

PRESENT_SECONDS: Final = 3.0
"""So long after the last word of it, online traffic counts as present."""

QUICK_SECONDS: Final = 0.05
"""A model that answers a full batch in this time makes nobody wait."""

REST: Final = 4.0
"""Rest after a call, in multiples of it: a job keeps a fifth of its speed."""

LONGEST_WAIT_SECONDS: Final = 10.0
"""Then a worker goes without a turn: many workers must not starve each other."""

_TURN_SECONDS: Final = 10.0
_LOOK_SECONDS: Final = 0.05

Ask: TypeAlias = Callable[[Pixels, ModelRef], Prediction]
"""Answers a batch; waits for the model as long as it may."""


class Traffic(Protocol):
    """What `worker.online.OnlineTraffic` knows."""

    def quiet_seconds(self) -> float:
        """Since the last online traffic; infinite if that is long ago."""

    def take_turn(self, seconds: float) -> bool:
        """Whether the caller may ask the model now."""

    def rest(self, seconds: float) -> None:
        """Let nobody ask for so long."""


@dataclass(frozen=True)
class Load:
    """Images in a call, and calls at the same time."""

    images: int
    calls: int


Allowed: TypeAlias = Callable[[], Load]
"""How much may be asked for at this moment."""

FULL_LOAD: Final = Load(MAX_BATCH_SIZE, 2)
"""The most that a shard ever asks for."""


class Courtesy:
    """The pace of one shard; thread-safe as far as its two senders need it."""

    def __init__(self, traffic: Traffic, pause: Callable[[float], bool]) -> None:
        """Heed *traffic*; *pause* waits the seconds given, True means to hurry."""
        self._traffic = traffic
        self._pause = pause
        self._image_seconds = CALL_SECONDS
        self._images = FIRST_IMAGES
        self._load = FULL_LOAD

    def load(self) -> Load:
        """How much to ask for now."""
        if self._is_quick or self._traffic.quiet_seconds() == math.inf:
            self._load = Load(self._images, FULL_LOAD.calls)
        else:
            self._load = Load(_whole(CALL_SECONDS / self._image_seconds), 1)
        return self._load

    def ask(self, ask: Ask, batch: Pixels, model: ModelRef) -> Prediction:
        """The answer of *ask*, in turn with other workers while people wait.

        Raises:
            KennelError: as *ask*.
        """
        yields = self._is_awaited() and not self._is_quick
        calls = self._load.calls
        if yields:
            self._await_turn()
        began = time.monotonic()
        prediction = ask(batch, model)
        seconds = time.monotonic() - began
        self._image_seconds = seconds / len(batch) / calls
        growth = 2.0 if 2 * seconds <= ANSWER_SECONDS else ANSWER_SECONDS / seconds
        self._images = _whole(growth * len(batch))
        if yields:
            self._traffic.rest(REST * seconds)
        return prediction

    @property
    def _is_quick(self) -> bool:
        return self._image_seconds * MAX_BATCH_SIZE < QUICK_SECONDS

    def _is_awaited(self) -> bool:
        return self._traffic.quiet_seconds() < PRESENT_SECONDS

    def _await_turn(self) -> None:
        deadline = time.monotonic() + LONGEST_WAIT_SECONDS
        while time.monotonic() < deadline and self._is_awaited():
            if self._traffic.take_turn(_TURN_SECONDS) or self._pause(_LOOK_SECONDS):
                return


def _whole(images: float) -> int:
    # A power of two: model servers pad others. Below two an image costs double.
    fitting = min(int(images), MAX_BATCH_SIZE)
    return 1 << max(1, fitting.bit_length() - 1)

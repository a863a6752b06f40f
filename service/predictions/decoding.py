"""Decodes the images of requests, few at a time.

Pillow works without the interpreter's lock, so threads help; more threads than cores
would only multiply memory (a 50 megapixel image takes 150 MB while it is decoded).
"""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Final, TypeAlias

from models.errors import InvalidImageError
from models.image_files import check_image_bytes
from models.images import Pixels, decode_image
from models.processors import usable_processors
from service.budget import Budget
from service.predictions.turns import Turns

Decoded: TypeAlias = Pixels | InvalidImageError
"""An image that cannot be decoded is a result, not the end of its neighbours."""


QUICK_BYTES: Final = 1024 * 1024
"""A larger image may take long to decode: quick ones do not queue behind it."""


class Decoder:
    """The decoding threads of one process; thread-safe."""

    def __init__(self, processes: int = 1) -> None:
        """Share the cores with as many *processes* that decode.

        Quick images alone are decoded by as many threads as there are cores for this
        process: more of them only take the processor's caches from each other (a tenth
        of the requests/s of two processes on two cores). Many or large images have a
        pool of one thread a core, since the other processes may be idle.
        """
        cores = usable_processors()
        self._turns = Turns(max(1, cores // processes))
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="decode")

    def decode(
        self, images: Sequence[bytes], size: tuple[int, int], budget: Budget
    ) -> list[Decoded]:
        """Pixels of *size*, or what is wrong, for each of *images*, in their order.

        Raises:
            ModelTimeoutError: the budget is spent.
        """
        if is_quick(images):
            return [self._decode_quick(images[0], size, budget)]
        answers = self._pool.map(
            lambda image: _decode(image, size), images, timeout=budget.left()
        )
        try:
            return list(answers)
        except TimeoutError as error:
            raise budget.exhausted() from error

    def _decode_quick(
        self, image: bytes, size: tuple[int, int], budget: Budget
    ) -> Decoded:
        if not self._turns.take(budget.left()):
            raise budget.exhausted()
        try:
            return _decode(image, size)
        finally:
            self._turns.end()


def is_quick(images: Sequence[bytes]) -> bool:
    """Whether *images* is one that will not take long."""
    return len(images) == 1 and len(images[0]) <= QUICK_BYTES


def _decode(image: bytes, size: tuple[int, int]) -> Decoded:
    try:
        check_image_bytes(len(image))
        return decode_image(image, size)
    except InvalidImageError as error:
        return error

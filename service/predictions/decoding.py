"""Decodes the images of a request, never more at a time than there are cores.

Pillow works without the interpreter's lock, so threads help; more threads than cores
would only multiply memory (a 50 megapixel image takes 150 MB while it is decoded).
"""

from __future__ import annotations

import os
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeAlias

from models.errors import InvalidImageError
from models.images import Pixels, check_image_bytes, decode_image
from service.budget import Budget

Decoded: TypeAlias = Pixels | InvalidImageError
"""An image that cannot be decoded is a result, not the end of its neighbours."""


class Decoder:
    """The decoding threads of one process."""

    def __init__(self, threads: int | None = None) -> None:
        """Decode at most *threads* images at a time (default: one a core)."""
        count = threads or _cores()
        self._slots = threading.BoundedSemaphore(count)
        self._pool = ThreadPoolExecutor(count, thread_name_prefix="decode")

    def decode(
        self, images: Sequence[bytes], size: tuple[int, int], budget: Budget
    ) -> list[Decoded]:
        """Pixels of *size*, or what is wrong, for each of *images*, in their order.

        Raises:
            ModelTimeoutError: the budget is spent.
        """
        if len(images) == 1:
            return [self._decode_one(images[0], size, budget)]
        answers = self._pool.map(
            lambda image: self._decode_one(image, size, budget),
            images,
            timeout=budget.left(),
        )
        try:
            return list(answers)
        except TimeoutError as error:
            raise budget.exhausted() from error

    def _decode_one(
        self, image: bytes, size: tuple[int, int], budget: Budget
    ) -> Decoded:
        if not self._slots.acquire(timeout=budget.left()):
            raise budget.exhausted()
        try:
            check_image_bytes(len(image))
            return decode_image(image, size)
        except InvalidImageError as error:
            return error
        finally:
            self._slots.release()


def _cores() -> int:
    if hasattr(os, "sched_getaffinity"):  # not on macOS
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1

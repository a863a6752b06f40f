"""Decoding of a request's images, a few at a time.

Ordinary images are decoded by threads of this process: Pillow works without the
interpreter's lock, so threads help. Images that may take long or much memory are
decoded by processes that are killed if they do. Ordinary, large and heavy images have queues
of their own, so that no photo waits for a larger kind.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import Final, TypeAlias

from models.contract import ModelCard
from models.environment import usable_processors
from models.errors import InvalidImageError, detached
from models.files import try_lock
from models.images.codec import Pixels, decode_image, is_costly
from models.images.files import check_image_bytes
from models.images.sandbox import DecodeSandbox, is_heavy
from service.http.budget import Budget
from service.http.errors import OverloadedError
from service.http.threads import FifoSemaphore

Decoded: TypeAlias = Pixels | InvalidImageError
"""An image that cannot be decoded is a result: the others of a request are answered."""

MAX_LARGE: Final = 4
"""Large images at a time in a process, each in up to 260 MB."""

_LOCK_LOOK_SECONDS: Final = 0.02

MAX_HEAVY_WAITING: Final = 8
"""Requests that may wait for a heavy image: each one holds a thread."""


class Decoder:
    """The decoding threads and processes of one API process; thread-safe."""

    def __init__(
        self,
        processes: int = 1,
        large: DecodeSandbox | None = None,
        heavy: DecodeSandbox | None = None,
    ) -> None:
        """Share the cores with as many *processes* that decode.

        Quick images alone are decoded by as many threads as there are cores for this
        process: more of them only take the processor's caches from each other (a tenth
        of the requests/s of two processes on two cores). Many images have a pool of one
        thread a core, since the other processes may be idle. Large images have the cores
        of this process, and heavy ones go one at a time in all processes together, for
        their memory. *large* and *heavy* own the processes that can be killed.
        """
        cores = usable_processors()
        own = max(1, cores // processes)
        self._large_apart = large or DecodeSandbox()
        self._heavy_apart = heavy or self._large_apart
        self._quick = FifoSemaphore(own)
        self._heavy = FifoSemaphore(1)
        self._pool = ThreadPoolExecutor(cores, thread_name_prefix="decode")
        self._large = ThreadPoolExecutor(min(own, MAX_LARGE), "decode-large")

    @property
    def heavy_waiting(self) -> int:
        """How many requests wait to have a heavy image decoded."""
        return self._heavy.waiting

    def decode(
        self, images: Sequence[bytes], card: ModelCard, budget: Budget
    ) -> list[Decoded]:
        """The pixels that *card*'s version takes, or the error, of each of *images*.

        When it returns or raises, nothing of *images* is being decoded any more.

        Raises:
            ModelTimeoutError: the budget is spent.
            OverloadedError: too many heavy images wait already.
        """
        if is_quick(images):
            return [self._decode_quick(images[0], card, budget)]
        begun = [
            None if _is_heavy(image, card) else self._begin(image, card, budget)
            for image in images
        ]
        try:
            return [
                self._decode_heavy(image, card, budget)
                if future is None
                else future.result(budget.left())
                for image, future in zip(images, begun, strict=True)
            ]
        except TimeoutError as error:
            raise budget.exhausted() from error
        finally:
            _end(begun)

    def _decode_quick(self, image: bytes, card: ModelCard, budget: Budget) -> Decoded:
        with _slot(self._quick, budget):
            return _decode(image, card)

    def _decode_heavy(self, image: bytes, card: ModelCard, budget: Budget) -> Decoded:
        if self._heavy.waiting >= MAX_HEAVY_WAITING:
            message = f"{MAX_HEAVY_WAITING} heavy images wait to be decoded already"
            raise OverloadedError(message, self._heavy_apart.limits.cpu_seconds)
        with _slot(self._heavy, budget), _only_one(budget):
            return _decode_apart(self._heavy_apart, image, card, budget)

    def _begin(self, image: bytes, card: ModelCard, budget: Budget) -> Future[Decoded]:
        if is_costly(image):
            return self._large.submit(
                _decode_apart, self._large_apart, image, card, budget
            )
        return self._pool.submit(_decode, image, card)


def is_quick(images: Sequence[bytes]) -> bool:
    """Whether *images* is a single image that does not take long."""
    return len(images) == 1 and not is_costly(images[0])


def _is_heavy(image: bytes, card: ModelCard) -> bool:
    return is_heavy(image, card.image_size, card.preprocessing)


@contextmanager
def _slot(semaphore: FifoSemaphore, budget: Budget) -> Iterator[None]:
    if not semaphore.acquire(budget.left()):
        raise budget.exhausted()
    try:
        yield
    finally:
        semaphore.release()


@contextmanager
def _only_one(budget: Budget) -> Iterator[None]:
    # One in all processes of this installation: they share the container's memory.
    with Path(__file__).open("rb") as stream:
        while not _is_locked(stream.fileno()):
            time.sleep(min(_LOCK_LOOK_SECONDS, budget.left()))
        yield


def _is_locked(descriptor: int) -> bool:
    try:
        return try_lock(descriptor)
    except OSError:
        return True  # a file system without locks: decode without waiting


def _end(begun: Sequence[Future[Decoded] | None]) -> None:
    # A running one ends soon: a quick image, or one that is killed with the budget.
    futures = [future for future in begun if future is not None]
    wait([future for future in futures if not future.cancel()])


def _decode_apart(
    sandbox: DecodeSandbox, image: bytes, card: ModelCard, budget: Budget
) -> Decoded:
    try:
        check_image_bytes(len(image))
        left = budget.left()
        return sandbox.decode(image, card.image_size, left, card.preprocessing)
    except InvalidImageError as error:
        return detached(error)


def _decode(image: bytes, card: ModelCard) -> Decoded:
    try:
        check_image_bytes(len(image))
        return decode_image(image, card.image_size, card.preprocessing)
    except InvalidImageError as error:
        return detached(error)

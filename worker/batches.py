"""One batch of a shard: photos are read and decoded, and the model's answer becomes rows."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from contextlib import nullcontext
from dataclasses import dataclass, field
from typing import Final

import numpy as np
from rq.timeouts import BaseTimeoutException

from models.errors import InvalidImageError, KennelError, ModelContractError, quoted
from models.images.codec import Pixels, decode_image, is_costly
from models.images.sandbox import DecodeLimits, DecodeSandbox, broken_decoder, is_heavy
from models.wire.messages import ModelRef
from worker.artefacts import Row
from worker.items import Item
from worker.request import JobRequest
from worker.sources.source import InvalidFolderError, PhotoFolder
from worker.yielding import Allowed, Ask

LIMITS: Final = DecodeLimits(cpu_seconds=10.0, wall_seconds=300.0)
"""For one photo: what is refused is lost to the job, and nobody waits for the answer."""


@dataclass(frozen=True)
class Loaded:
    """One image as it was read."""

    item: Item
    pixels: Pixels | None
    code: str = ""
    detail: str = ""


@dataclass(frozen=True)
class PhotoLoader:
    """Reads and decodes the photos of a shard; thread-safe.

    Costly ones are decoded by *sandbox*, heavy ones of them one at a time: a photo that
    takes too much is one unreadable image, and not the end of its shard.

    Attributes:
        is_careful: all of them are, and whatever is raised for a photo is its own fault.
    """

    folder: PhotoFolder
    request: JobRequest
    sandbox: DecodeSandbox
    is_careful: bool = False
    _one_heavy: threading.Lock = field(default_factory=threading.Lock)

    def load(self, item: Item) -> Loaded:
        """The pixels of one image, or why there are none.

        Raises:
            StorageUnavailableError: the storage of the photos, or their folder, is away.
            ModelOverloadedError: no process for decoding can be started now.
            TimeoutError: the sandbox was closed.
        """
        try:
            return Loaded(item, self._decode(self.folder.read(item.file)))
        except InvalidImageError as error:
            return unreadable(item, error)
        except InvalidFolderError as error:
            # It was there when the job was submitted: an unmounted volume may come back.
            raise error.during_job() from error
        except (KennelError, OSError, MemoryError, BaseTimeoutException):
            raise
        except Exception as error:
            if not self.is_careful:
                raise
            return unreadable(item, broken_decoder(f"raised {quoted(error)}"))

    def _decode(self, image: bytes) -> Pixels:
        size, preprocessing = self.request.image_size, self.request.preprocessing
        if not self.is_careful and not is_costly(image):
            return decode_image(image, size, preprocessing)
        heavy = is_heavy(image, size, preprocessing)
        with self._one_heavy if heavy else nullcontext():
            return self.sandbox.decode(image, size, preprocessing=preprocessing)


def unreadable(item: Item, error: InvalidImageError) -> Loaded:
    """The image *item* without pixels, because of *error*."""
    return Loaded(item, None, error.code, str(error))


def answer_batch(
    request: JobRequest, ask: Ask, allowed: Allowed, loaded: Sequence[Loaded]
) -> list[Row]:
    """A row for each of *loaded*, in their order.

    What was loaded for one call is asked for in several if less is *allowed* by now.

    Raises:
        KennelError: as *ask*.
        ModelContractError: the answer does not fit the request.
    """
    rows: list[Row] = []
    while len(rows) < len(loaded):
        end = len(rows) + allowed().images
        rows.extend(_answer(request, ask, loaded[len(rows) : end]))
    return rows


def _answer(request: JobRequest, ask: Ask, loaded: Sequence[Loaded]) -> list[Row]:
    pixels = [each.pixels for each in loaded if each.pixels is not None]
    answers = iter(_probabilities(request, ask, pixels) if pixels else ())
    return [
        Row(*each.item, code=each.code, detail=each.detail)
        if each.pixels is None
        else Row(*each.item, probabilities=next(answers))
        for each in loaded
    ]


def _probabilities(
    request: JobRequest, ask: Ask, pixels: list[Pixels]
) -> list[tuple[float, ...]]:
    # Alone, an image has other last bits than in a batch: it is sent twice.
    is_twice = len(pixels) == 1 and not request.batch_invariant
    batch = np.stack(pixels * 2 if is_twice else pixels)
    prediction = ask(batch, ModelRef(request.model, version=request.version))
    answered = prediction.probabilities[: len(pixels)]
    if answered.shape != (len(pixels), len(request.labels)):
        message = (
            f"model {request.model!r} answered {answered.shape} for {len(pixels)} "
            f"images and {len(request.labels)} labels: export it again"
        )
        raise ModelContractError(message)
    if prediction.version != request.version:
        message = f"version {prediction.version} answered instead of {request.version}"
        raise ModelContractError(message)
    # The client lets rounding of 1e-6 above 1 pass.
    return [tuple(map(float, row)) for row in np.clip(answered, 0, 1)]

"""What a stage learns from: rows of features or pixels, with their targets."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import Any, Protocol

import numpy as np
from numpy.typing import NDArray

from export.data.cache import StoredArray, StoredFeatures
from export.stages.changes import PixelChange


@dataclass(frozen=True)
class PhotoSet:
    """Decoded photos with what they should be called.

    Attributes:
        name: "training", "validation" ...; for progress bars.
        key: changes with the pixels' content.
        targets: probabilities float32 [N, K], one-hot where a person gave the label.
    """

    name: str
    key: str
    pixels: StoredArray
    targets: NDArray[np.float32]

    def whole(self) -> Part:
        """All of them as one part."""
        return Part(self, np.arange(len(self.targets)))


@dataclass(frozen=True)
class Part:
    """The photos in those *rows* of a set: features are computed for all of it once."""

    photos: PhotoSet
    rows: NDArray[np.int64]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Probabilities [n, K] of the part's photos."""
        return self.photos.targets[self.rows]


Arrays = list[NDArray[np.float32]]
"""One batch: an array [N, ...] for each of the model's inputs."""


class Examples(Protocol):
    """Inputs and targets that can be read in any order."""

    @property
    def targets(self) -> NDArray[np.float32]:
        """Probabilities [N, K]."""

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """What the model sees of these *rows* in this *epoch*."""


@dataclass(frozen=True)
class FeatureExamples:
    """Cached features of a part, in several passes (views, augmented) one after another."""

    part: Part
    passes: Sequence[StoredFeatures]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Every photo's, once for each pass."""
        return np.tile(self.part.targets, (len(self.passes), 1))

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """The cached features of *rows*, the same in every epoch."""
        del epoch
        count = len(self.part.rows)
        parts = [
            (found, self.passes[number].rows(self.part.rows[rows[found] % count]))
            for number in np.unique(rows // count)
            for found in [np.flatnonzero(rows // count == number)]
        ]
        shapes = [array.shape[1:] for array in parts[0][1]]
        merged = [np.empty((len(rows), *shape), np.float32) for shape in shapes]
        for found, arrays in parts:
            for target, array in zip(merged, arrays, strict=True):
                target[found] = array
        return merged


@dataclass(frozen=True)
class PixelExamples:
    """Decoded photos; ``change`` says what is done to them in each epoch."""

    part: Part
    change: Callable[[int], PixelChange]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Every photo's."""
        return self.part.targets

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """Pixels 0..255 of *rows*, as float32."""
        photos = self.part.rows[rows]
        pixels = self.part.photos.pixels.rows(photos)
        return [self.change(epoch).apply(pixels, photos).astype(np.float32)]


@dataclass(frozen=True)
class FreshFeatures:
    """Features of photos that are changed anew in each epoch, and so are not cached.

    ``compute``: pixels float32 [N, H, W, 3] -> an array [N, ...] for each output of the
    frozen part.
    """

    part: Part
    change: Callable[[int], PixelChange]
    compute: Callable[[NDArray[np.float32]], Arrays]

    @property
    def targets(self) -> NDArray[np.float32]:
        """Every photo's."""
        return self.part.targets

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """The features of *rows* as they look in this *epoch*."""
        (pixels,) = PixelExamples(self.part, self.change).inputs(rows, epoch)
        return self.compute(pixels)


def batches(
    examples: Examples, order: NDArray[np.integer], size: int, epoch: int
) -> Iterator[tuple[Arrays, NDArray[np.float32]]]:
    """(inputs, targets) of each batch; the next is read while the last one trains."""
    targets = examples.targets
    chunks = [order[first : first + size] for first in range(0, len(order), size)]

    def read(rows: NDArray[Any]) -> tuple[Arrays, NDArray[np.float32]]:
        return examples.inputs(rows, epoch), targets[rows]

    with ThreadPoolExecutor(1) as reader:
        ahead = reader.submit(read, chunks[0])
        for rows in chunks[1:]:
            batch = ahead.result()
            ahead = reader.submit(read, rows)
            yield batch
        yield ahead.result()

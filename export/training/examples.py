"""Examples: decoded photos, rows of features or pixels to learn from, with their targets.

Frozen features are computed once for each set of pixels. The key of their cache has
everything that they depend on: pixels, layers, weights, arithmetic, and the flip or
augmentation before them.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cached_property, partial
from pathlib import Path
from typing import Any, Protocol

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.augmentation import Augmentation, augment
from export.data.cache import (
    FeatureSource,
    PixelSource,
    StoredArray,
    StoredFeatures,
    cache_key,
    cached_features,
    cached_pixels,
)
from export.data.splits import Photo, classes_of
from export.progress import Progress
from export.training.plans import TrainingPlan
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError
from models.files import write_atomically
from models.images.codec import Pixels
from models.networks.integer_graph import IntegerChain, in_eight_bits
from models.networks.network import flip
from models.networks.quantization import CALIBRATION_PHOTOS, quantize

Arrays = list[NDArray[np.float32]]
"""One batch: an array [N, ...] for each of the model's inputs."""


@dataclass(frozen=True)
class PhotoSet:
    """Decoded photos with their target probabilities.

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


@dataclass(frozen=True)
class PseudoLabelled:
    """Photos without labels, and pseudo-labels for them.

    ``targets`` are the teacher's calibrated probabilities, float32 [N, K].
    """

    files: tuple[Path, ...]
    hashes: tuple[str, ...]
    targets: NDArray[np.float32]


def prepare_photos(
    name: str,
    photos: Sequence[Photo],
    plan: TrainingPlan,
    progress: Progress,
    pseudo: PseudoLabelled | None = None,
) -> PhotoSet:
    """Decode *photos* and *pseudo*-labelled ones, or find them decoded in the cache.

    Raises:
        DatasetError: some cannot be decoded (the message names them), or all are the
            same.
    """
    folder = Path(plan.split.folder)
    files = [folder / photo.file for photo in photos]
    hashes = [photo.sha256 for photo in photos]
    labels = plan.split.labels
    targets = np.eye(len(labels), dtype=np.float32)[classes_of(photos, labels)]
    if pseudo is not None:
        files += pseudo.files
        hashes += pseudo.hashes
        targets = np.concatenate([targets, pseudo.targets])
    size, preprocessing = plan.recipe.image_size, plan.preprocessing
    source = PixelSource(name, files, hashes, size, preprocessing)
    pixels = cached_pixels(source, plan.cache, progress)
    _check_varied(pixels)
    return PhotoSet(name, source.key(), pixels, targets)


class Examples(Protocol):
    """Inputs and targets that can be read in any order."""

    @property
    def targets(self) -> NDArray[np.float32]:
        """Probabilities [N, K]."""

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """The model's inputs for these *rows* in this *epoch*."""


@dataclass(frozen=True)
class FeatureExamples:
    """Cached features of a part, in several passes (views, augmented) one after another."""

    part: Part
    passes: Sequence[StoredFeatures]

    @property
    def targets(self) -> NDArray[np.float32]:
        """The targets of all photos, once for each pass."""
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
    """Decoded photos; ``change`` gives the flip or augmentation of each epoch."""

    part: Part
    change: Callable[[int], PixelChange]

    @property
    def targets(self) -> NDArray[np.float32]:
        """The targets of the part's photos."""
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
        """The targets of the part's photos."""
        return self.part.targets

    def inputs(self, rows: NDArray[np.integer], epoch: int) -> Arrays:
        """The features of *rows* as they look in this *epoch*."""
        (pixels,) = PixelExamples(self.part, self.change).inputs(rows, epoch)
        return self.compute(pixels)


@dataclass(frozen=True)
class FrozenPart:
    """A frozen network, pixels -> list of tensors, and the folder of its features.

    ``dtype`` is how they are stored: "float16" to train on, "float32" to validate on.
    """

    network: Any
    dtype: str
    cache: Path
    progress: Progress

    def features(self, photos: PhotoSet, change: PixelChange) -> StoredFeatures:
        """The features of all *photos* after *change*, from the cache if they are there.

        Raises:
            DatasetError: the disk is full.
        """
        source = FeatureSource(
            name=f"{photos.name} features{change.name}",
            key=[photos.key, self._digest, list(change.key), keras.__version__],
            shapes=tuple(tuple(each.shape[1:]) for each in self.network.outputs),
            dtype=self.dtype,
            compute=partial(self._changed, change),
        )
        return cached_features(photos.pixels, source, self.cache, self.progress)

    def in_eight_bits(self, chain: IntegerChain) -> FrozenPart:
        """The same with the convolutions of *chain* as integers."""
        return replace(self, network=in_eight_bits(self.network, chain))

    def fit_chain(self, photos: PhotoSet, seed: int, dtype: str) -> IntegerChain:
        """The network's convolutions as integers, fitted to some of *photos*.

        From the cache if it is there: other ranges would make all cached features useless.
        *dtype*: as for `quantize`.

        Raises:
            InvalidRequestError: a layer cannot be computed in integers.
            DatasetError: the file in the cache is damaged.
        """
        name = cache_key([photos.key, self._digest, seed, CALIBRATION_PHOTOS])
        path = self.cache / "integers" / f"{name}.npz"
        if not path.exists():
            order = np.random.default_rng(seed).permutation(len(photos.pixels))
            chosen = photos.pixels.rows(np.sort(order[:CALIBRATION_PHOTOS]))
            report = partial(self.progress, "fit eight bits")
            chain = quantize(self.network, chosen, report, dtype)
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, chain.to_bytes())
        return IntegerChain.from_bytes(path.read_bytes())

    def compute(self, pixels: NDArray[np.float32]) -> list[NDArray[np.float32]]:
        """Features [N, ...] of *pixels* [N, H, W, 3], one array for each output."""
        outputs = self.network.predict_on_batch(keras.ops.convert_to_tensor(pixels))
        arrays = outputs if isinstance(outputs, list) else [outputs]
        return [np.asarray(each, np.float32) for each in arrays]

    def _changed(
        self, change: PixelChange, first: int, pixels: Pixels
    ) -> list[NDArray[Any]]:
        rows = np.arange(first, first + len(pixels))
        changed = change.apply(pixels, rows).astype(np.float32)
        return [each.astype(self.dtype) for each in self.compute(changed)]

    @cached_property
    def _digest(self) -> str:
        layers = json.dumps(self.network.get_config(), default=str, sort_keys=True)
        found = hashlib.sha256(layers.encode())
        for array in self.network.get_weights():
            found.update(np.ascontiguousarray(array).data)
        return found.hexdigest()[:32]


@dataclass(frozen=True)
class PixelChange:
    """A change of pixels before the network sees them: a flip or an augmentation.

    ``apply`` maps (pixels uint8 [N, H, W, 3], row numbers [N]) to pixels; ``key`` names
    everything that it depends on; ``name`` is for progress bars.
    """

    name: str
    key: tuple[object, ...]
    apply: Callable[[Pixels, NDArray[np.integer]], Pixels]


def flipped(view: str) -> PixelChange:
    """The flip that *view* names; "none" leaves the photo as it is."""
    name = "" if view == "none" else f", flipped {view}"
    return PixelChange(name, ("view", view), lambda pixels, _rows: flip(pixels, view))


def augmented(augmentation: Augmentation, seed: int, number: int) -> PixelChange:
    """The augmentation of pass or epoch *number* (from 1); the same for the same seed."""
    key = ("augmented", repr(augmentation), seed, number)
    return PixelChange(
        f", augmented pass {number}",
        key,
        lambda pixels, rows: augment(pixels, augmentation, seed, number, rows),
    )


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


def _check_varied(pixels: StoredArray) -> None:
    if len(pixels) < 2:
        return
    first = pixels.rows(slice(0, 1))
    if all((rows == first).all() for _, rows in pixels.batches(MAX_BATCH_SIZE)):
        message = (
            f"all {len(pixels):,} photos are the same once decoded: check that the "
            "originals are intact"
        )
        raise DatasetError(message)

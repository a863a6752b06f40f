"""Photos of a split made ready to learn from: decoded, with targets."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from export.data.cache import PixelSource, StoredArray, cached_pixels
from export.data.splits import Photo, classes_of
from export.progress import Progress
from export.stages.examples import PhotoSet
from export.training.plans import TrainingPlan
from export.training.pseudo_labels import PseudoLabelled
from models.contract import MAX_BATCH_SIZE
from models.errors import DatasetError


def prepare_photos(
    name: str,
    photos: Sequence[Photo],
    plan: TrainingPlan,
    progress: Progress,
    pseudo: PseudoLabelled | None = None,
) -> PhotoSet:
    """Decode *photos* and *pseudo*-labelled ones, or find them decoded in the cache.

    Raises:
        DatasetError: some cannot be decoded, it names them; or all are the same.
    """
    folder = Path(plan.split.folder)
    files = [folder / photo.file for photo in photos]
    hashes = [photo.sha256 for photo in photos]
    targets = one_hot(classes_of(photos, plan.split.labels), len(plan.split.labels))
    if pseudo is not None:
        files += pseudo.files
        hashes += pseudo.hashes
        targets = np.concatenate([targets, pseudo.targets])
    source = PixelSource(name, files, hashes, plan.recipe.image_size)
    pixels = cached_pixels(source, plan.cache, progress)
    _check_varied(pixels)
    return PhotoSet(name, source.key(), pixels, targets)


def _check_varied(pixels: StoredArray) -> None:
    if len(pixels) < 2:
        return
    first = pixels.rows(slice(0, 1))
    if all((rows == first).all() for _, rows in pixels.batches(MAX_BATCH_SIZE)):
        message = (
            f"all {len(pixels):,} photos are the same once decoded: see whether the "
            "originals are intact"
        )
        raise DatasetError(message)


def one_hot(classes: NDArray[np.integer], count: int) -> NDArray[np.float32]:
    """[N] class numbers -> [N, *count*]."""
    return np.asarray(np.eye(count, dtype=np.float32)[classes])

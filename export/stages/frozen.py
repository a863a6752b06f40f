"""Features from the frozen part of a network, computed once for each set of pixels.

The cache's key is what the features are a function of: pixels, layers, weights,
arithmetic, and the flip or augmentation before them.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import keras
import numpy as np
from numpy.typing import NDArray

from export.data.cache import FeatureSource, StoredFeatures, cached_features
from export.progress import Progress
from export.stages.changes import PixelChange
from export.stages.examples import PhotoSet
from models.images.codec import Pixels


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

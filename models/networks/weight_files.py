"""Weights read from Keras's files, layer by layer, without building a network.

Two layouts: Keras 1 and 2 wrote one group a layer, in the network's order (``.h5``);
Keras 3 writes numbered variables (``.weights.h5``, and inside a ``.keras`` archive).
"""

from __future__ import annotations

import io
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final, TypeAlias

import h5py
import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError

Arrays: TypeAlias = tuple[NDArray[np.float32], ...]
"""The weights of one layer in Keras's order: kernel, bias."""

ARCHIVE_MEMBER: Final = "model.weights.h5"


@dataclass(frozen=True)
class StoredLayers:
    """Weights by layer name; ``ordered``: they come in the network's order."""

    layers: dict[str, Arrays]
    ordered: bool


def read_weight_file(path: Path, skip: frozenset[str] = frozenset()) -> StoredLayers:
    """The weights in a ``.h5``, ``.weights.h5`` or ``.keras`` file, but layers *skip*.

    Nothing in the file is executed.

    Raises:
        DatasetError: it is gone, damaged, or no such file.
    """
    try:
        if zipfile.is_zipfile(path):
            with zipfile.ZipFile(path) as archive:
                content = io.BytesIO(archive.read(ARCHIVE_MEMBER))
            return _read(content, skip)
        return _read(path, skip)
    except (OSError, KeyError, ValueError, TypeError, zipfile.BadZipFile) as error:
        message = (
            f"{path} cannot be read as a Keras .h5 weight file ({error}): "
            "use one that Keras saved (.h5, .weights.h5 or .keras)"
        )
        raise DatasetError(message) from error


def _read(file: Path | io.BytesIO, skip: frozenset[str]) -> StoredLayers:
    with h5py.File(file, "r") as stored:
        root = stored.get("model_weights", stored)
        groups = [name for name in _layer_names(root) if name not in skip]
        if any("weight_names" in root[name].attrs for name in groups):
            pairs = [pair for name in groups for pair in _old_layers(root, name)]
            return StoredLayers(dict(pairs), ordered="layer_names" in root.attrs)
        layers = {
            name: arrays for name, arrays in _new_layers(stored) if name not in skip
        }
        return StoredLayers(layers, ordered=False)


def _layer_names(root: Any) -> list[str]:
    return [_text(name) for name in root.attrs.get("layer_names", list(root))]


def _old_layers(root: Any, name: str) -> Iterator[tuple[str, Arrays]]:
    group = root[name]
    weights = [_text(each) for each in group.attrs.get("weight_names", ())]
    owners = list(dict.fromkeys(each.rpartition("/")[0] for each in weights))
    # A block of layers stored as one, as ConvNeXt has them, names each inner layer.
    for owner in owners:
        own = [each for each in weights if each.rpartition("/")[0] == owner]
        inner = owner.rpartition("/")[2]
        yield inner if len(owners) > 1 else name, tuple(_array(group[w]) for w in own)


def _new_layers(group: Any) -> Iterator[tuple[str, Arrays]]:
    for key, child in group.items():
        if not isinstance(child, h5py.Group) or key == "optimizer":
            continue
        if key == "vars":
            numbered = sorted(child, key=int)
            if numbered:
                name = _text(child.attrs.get("name", group.name.rpartition("/")[2]))
                yield name, tuple(_array(child[number]) for number in numbered)
            continue
        yield from _new_layers(child)


def _array(stored: Any) -> NDArray[np.float32]:
    return np.asarray(stored, dtype=np.float32)


def _text(name: Any) -> str:
    return name.decode() if isinstance(name, bytes) else str(name)

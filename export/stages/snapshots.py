"""Weights and facts about them in one file, written whole or not at all."""

from __future__ import annotations

import json
import zipfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from models.errors import DatasetError
from models.files import open_atomically, parse_json

_FACTS: Final = "facts"


@dataclass(frozen=True)
class Snapshot:
    """Arrays in a fixed order, and JSON facts that belong to them."""

    arrays: Sequence[NDArray[Any]]
    facts: Mapping[str, Any]


def write_snapshot(path: Path, snapshot: Snapshot) -> None:
    """Give *path* this content, durably, in one rename.

    Raises:
        OSError: the disk is full; *path* is as it was.
    """
    named = {f"{number:05d}": array for number, array in enumerate(snapshot.arrays)}
    named[_FACTS] = np.frombuffer(json.dumps(snapshot.facts).encode(), np.uint8)
    with open_atomically(path) as stream:
        np.savez(stream, allow_pickle=False, **named)


def read_snapshot(path: Path) -> Snapshot:
    """Read what `write_snapshot` wrote.

    Raises:
        DatasetError: there is no such file, or it is damaged.
    """
    try:
        with np.load(path, allow_pickle=False) as stored:
            facts = parse_json(stored[_FACTS].tobytes())
            names = sorted(set(stored.files) - {_FACTS})
            return Snapshot([stored[name] for name in names], facts)
    except (OSError, ValueError, KeyError, EOFError, zipfile.BadZipFile) as error:
        message = f"{path} cannot be read as weights ({error}): train again"
        raise DatasetError(message) from error

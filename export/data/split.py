"""A split: which photos train and which validate, written down with their hashes."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from export.data.checks.names import check_utf8
from models.errors import DatasetError
from models.files import parse_json, write_atomically
from models.text import normal_name

MANIFEST_SCHEMA: Final = 1

CROSS_VALIDATED: Final = "cross-validated"
"""The part of photos that train and validate in turn."""


@dataclass(frozen=True)
class Photo:
    """One labelled file; the path is relative to the data folder.

    Photos of one ``group`` (a driver, exact duplicates) stay in one part; "": of none.
    """

    file: str
    label: str
    sha256: str
    group: str = ""


@dataclass(frozen=True)
class Split:
    """Which photos train and which validate; labels are in their normal form.

    For cross-validation ``train`` and ``valid`` are the same photos: each fold of them
    validates a model that was trained on the others.

    Raises:
        DatasetError: the folder or a file has a name that is not UTF-8.
    """

    folder: str
    labels: tuple[str, ...]
    seed: int
    grouping: str
    train: tuple[Photo, ...]
    valid: tuple[Photo, ...]

    def __post_init__(self) -> None:
        """Refuse names that neither the report nor the exported version can hold."""
        check_utf8([self.folder])
        check_utf8(photo.file for photo in (*self.train, *self.valid))

    def counts(self) -> dict[str, dict[str, int]]:
        """Photos per part and label, each photo once: folds are no parts."""
        parts = {"train": self.train, "valid": self.valid}
        if self.train == self.valid:
            parts = {CROSS_VALIDATED: self.train}
        return {
            part: dict(Counter(photo.label for photo in photos))
            for part, photos in parts.items()
        }

    def digest(self) -> str:
        """Sha256 over the file lists of both parts, contents included."""
        lines = [
            f"{part} {photo.sha256} {photo.file}\n"
            for part, photos in (("train", self.train), ("valid", self.valid))
            for photo in photos
        ]
        return hashlib.sha256("".join(lines).encode()).hexdigest()

    def write(self, path: Path) -> None:
        """Write the manifest; `read_split` reads it back."""
        content = {"schema": MANIFEST_SCHEMA, **asdict(self)}
        write_atomically(path, json.dumps(content, indent=1))


def read_split(path: Path) -> Split:
    """Read a manifest.

    Raises:
        DatasetError: it is missing or not one.
    """
    try:
        content: dict[str, Any] = parse_json(path.read_text(encoding="utf-8"))
        content.pop("schema")
        for part in ("train", "valid"):
            content[part] = tuple(
                Photo(**{**photo, "label": normal_name(photo["label"])})
                for photo in content[part]
            )
        content["labels"] = tuple(map(normal_name, content["labels"]))
        return Split(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a split manifest ({error}): train again"
        raise DatasetError(message) from error


def classes_of(photos: Iterable[Photo], labels: Sequence[str]) -> Any:
    """The class number of each photo, int64 [N]."""
    numbers = {label: number for number, label in enumerate(labels)}
    return np.array([numbers[photo.label] for photo in photos], dtype=np.int64)

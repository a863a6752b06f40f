"""Labelled photos in class folders, split into training and validation.

The split is stratified and depends on nothing but the seed and the files' names; the
manifest that it writes names every file with its hash.
"""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np

from models.errors import DatasetError
from models.storage import hash_file, write_atomically

PHOTO_SUFFIXES: Final = frozenset({".jpg", ".jpeg", ".png", ".webp", ".bmp"})
MANIFEST_SCHEMA: Final = 1


@dataclass(frozen=True)
class Photo:
    """One labelled file; the path is relative to the data folder."""

    file: str
    label: str
    sha256: str


@dataclass(frozen=True)
class Split:
    """Which photos train and which validate."""

    folder: str
    labels: tuple[str, ...]
    seed: int
    grouping: str
    train: tuple[Photo, ...]
    valid: tuple[Photo, ...]

    def counts(self) -> dict[str, dict[str, int]]:
        """Photos per part and label."""
        parts = {"train": self.train, "valid": self.valid}
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
        content: dict[str, Any] = json.loads(path.read_text(encoding="utf-8"))
        content.pop("schema")
        for part in ("train", "valid"):
            content[part] = tuple(Photo(**photo) for photo in content[part])
        content["labels"] = tuple(content["labels"])
        return Split(**content)
    except (OSError, ValueError, KeyError, TypeError) as error:
        message = f"{path} is not a split manifest ({error}): train again"
        raise DatasetError(message) from error


def list_photos(folder: Path) -> list[Photo]:
    """The photos in *folder*'s class folders, by label and name.

    Raises:
        DatasetError: no folder, fewer than two classes, or an empty class folder.
    """
    if not folder.is_dir():
        raise DatasetError(f"{folder} is not a folder: give one with class folders")
    classes = sorted(
        each for each in folder.iterdir() if each.is_dir() and each.name[0] != "."
    )
    if len(classes) < 2:
        message = (
            f"{folder} holds {len(classes)} class folders: at least two are needed"
        )
        raise DatasetError(message)
    return [photo for each in classes for photo in _class_photos(folder, each)]


def split_photos(
    folder: Path, photos: Sequence[Photo], valid_fraction: float, seed: int
) -> Split:
    """Cut a seeded, stratified share of *photos* off for validation.

    Raises:
        DatasetError: a class is too small to have photos in both parts.
    """
    generator = np.random.default_rng(seed)
    train: list[Photo] = []
    valid: list[Photo] = []
    labels = sorted({photo.label for photo in photos})
    for label in labels:
        members = sorted(
            (photo for photo in photos if photo.label == label),
            key=lambda photo: photo.file,
        )
        count = round(len(members) * valid_fraction)
        if not 0 < count < len(members):
            message = (
                f"class {label!r} has {len(members)} photos: too few to keep "
                f"{valid_fraction:.0%} for validation"
            )
            raise DatasetError(message)
        order = generator.permutation(len(members))
        valid += [members[index] for index in order[:count]]
        train += [members[index] for index in order[count:]]
    return Split(
        str(folder), tuple(labels), seed, "stratified", tuple(train), tuple(valid)
    )


def classes_of(photos: Iterable[Photo], labels: Sequence[str]) -> Any:
    """The class number of each photo, int64 [N]."""
    numbers = {label: number for number, label in enumerate(labels)}
    return np.array([numbers[photo.label] for photo in photos], dtype=np.int64)


def _class_photos(folder: Path, class_folder: Path) -> list[Photo]:
    files = sorted(
        each
        for each in class_folder.iterdir()
        if each.suffix.lower() in PHOTO_SUFFIXES and each.is_file()
    )
    if not files:
        message = f"class folder {class_folder} holds no photos: add some or remove it"
        raise DatasetError(message)
    return [
        Photo(str(each.relative_to(folder)), class_folder.name, hash_file(each))
        for each in files
    ]

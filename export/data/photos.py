"""Labelled photos, split into training and validation.

A folder that `kennel prepare` made keeps its split. Otherwise the split is stratified
and depends on nothing but the seed and the files.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from export.data.checks.duplicates import check_different
from export.data.class_folders import hash_photos, survey_folder
from export.data.manifest import (
    MANIFEST_FILE,
    PLAN_FILE,
    check_files,
    read_manifest,
)
from export.data.sources.photos import GIVEN_GROUPING, Collection
from export.data.split import Photo, Split
from export.data.splitting import choose_groups, join_groups, share_of, shuffle_strata
from models.errors import DatasetError


def find_split(
    folder: Path,
    valid_fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
    report: Callable[[Collection], None] = lambda found: None,
) -> Split:
    """The split of *folder* if it has one, else a new one of its labelled photos.

    A folder made by `kennel prepare` has one, and so has one with folders for training
    and validation; then *valid_fraction* and *groups* do not matter. In a new split,
    exact duplicates and photos that *groups* (file to group) joins stay together. What
    was found in a folder that is not prepared goes to *report* first.

    Raises:
        NotFoundError: there is no such folder.
        DatasetError: no photos, files are missing, a class is too small to split, or
            nothing tells the photos of two classes apart.
    """
    if _is_prepared(folder):
        return _prepared_split(folder)
    found = survey_folder(folder)
    report(found)
    photos, valid = hash_photos(found.labelled), hash_photos(found.valid)
    check_different([each.label for each in photos], [each.sha256 for each in photos])
    if valid:
        return _split(folder, seed, GIVEN_GROUPING, photos, valid)
    return split_photos(folder, photos, valid_fraction, seed, groups or {})


def has_split(split: Split) -> bool:
    """Whether *split* was made before, by `kennel prepare` or as folders of parts."""
    return split.grouping == GIVEN_GROUPING or _is_prepared(Path(split.folder))


def _is_prepared(folder: Path) -> bool:
    return (folder / MANIFEST_FILE).exists() or (folder / PLAN_FILE).exists()


def split_photos(
    folder: Path,
    photos: Sequence[Photo],
    valid_fraction: float,
    seed: int,
    groups: Mapping[str, str] | None = None,
) -> Split:
    """Cut a seeded, stratified share of *photos* off for validation.

    With *groups* (file to group), these and exact duplicates stay on one side.

    Raises:
        DatasetError: a class is too small to have photos in both parts.
    """
    photos = sorted(photos, key=lambda photo: (photo.label, photo.file))
    strata = [photo.label for photo in photos]
    targets = share_of(strata, valid_fraction)
    _check_targets(Counter(strata), targets, valid_fraction)
    generator = np.random.default_rng(seed)
    joined = _groups(photos, groups) if groups is not None else []
    if any(joined):
        photos = [
            replace(photo, group=name)
            for name, photo in zip(joined, photos, strict=True)
        ]
        names = [photo.group or photo.file for photo in photos]
        chosen = set(choose_groups(strata, names, targets, generator))
        valid = [photos[index] for index in sorted(chosen)]
        train = [photo for index, photo in enumerate(photos) if index not in chosen]
    else:
        order = shuffle_strata(strata, generator)
        valid = [photos[i] for name in order for i in order[name][: targets[name]]]
        train = [photos[i] for name in order for i in order[name][targets[name] :]]
    grouping = "stratified, groups kept together" if any(joined) else "stratified"
    return _split(folder, seed, grouping, train, valid)


def _split(
    folder: Path, seed: int, grouping: str, train: list[Photo], valid: list[Photo]
) -> Split:
    labels = tuple(sorted({photo.label for photo in train}))
    if not train or {photo.label for photo in valid} != set(labels):
        only = {photo.label for photo in train} ^ {photo.label for photo in valid}
        message = (
            f"classes {', '.join(sorted(only)) or '(none)'} of {folder} have photos in "
            "one part of the split only: add photos or groups, or split with another seed"
        )
        raise DatasetError(message)
    return Split(str(folder), labels, seed, grouping, tuple(train), tuple(valid))


def _prepared_split(folder: Path) -> Split:
    manifest = read_manifest(folder)
    parts = [manifest.part("train"), manifest.part("valid")]
    check_files(folder, [file for part in parts for file in part])
    train, valid = (
        [Photo(file.file, file.label, file.sha256, file.group) for file in part]
        for part in parts
    )
    return _split(folder, manifest.seed, manifest.grouping, train, valid)


def _groups(photos: Sequence[Photo], groups: Mapping[str, str]) -> list[str]:
    seen = Counter(photo.sha256 for photo in photos)
    same = [photo.sha256 if seen[photo.sha256] > 1 else "" for photo in photos]
    return join_groups([groups.get(photo.file, "") for photo in photos], same)


def _check_targets(
    sizes: Mapping[str, int], targets: Mapping[str, int], share: float
) -> None:
    for label, size in sizes.items():
        if not 0 < targets[label] < size:
            message = (
                f"class {label!r} has {size} photos: too few to keep "
                f"a share of {share:g} for validation"
            )
            raise DatasetError(message)

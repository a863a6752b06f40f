"""Which photo goes where: training, validation, and a sample of both to iterate fast."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from export.data.checks.duplicates import duplicate_groups
from export.data.checks.scanning import ScannedPhoto
from export.data.preparation.request import PrepareRequest
from export.data.splitting import (
    allot,
    choose_groups,
    choose_items,
    join_groups,
)
from models.errors import DatasetError


def assign_parts(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> list[str]:
    """ "train" or "valid" for each labelled photo; groups and duplicates stay together.

    Raises:
        DatasetError: a class would be missing in one of the parts.
    """
    labels = [photo.photo.label for photo in photos]
    strata = _strata(labels, request)
    targets = _targets(strata, request)
    groups = join_groups(
        [photo.photo.group for photo in photos], duplicate_groups(photos)
    )
    generator = np.random.default_rng(request.seed)
    if any(groups):
        named = [
            group or f"alone: {photo.photo.file.path}"
            for group, photo in zip(groups, photos, strict=True)
        ]
        chosen = set(choose_groups(strata, named, targets, generator))
    else:
        chosen = set(choose_items(strata, targets, generator))
    parts = ["valid" if index in chosen else "train" for index in range(len(photos))]
    _check(labels, parts)
    return parts


def choose_sample(
    labels: Sequence[str], count: int, request: PrepareRequest, salt: int
) -> list[int]:
    """The numbers of *count* photos of one part, stratified as the split is.

    *salt* keeps the random numbers apart from those of the split and other samples.
    """
    strata = _strata(labels, request)
    generator = np.random.default_rng([request.seed, salt])
    return sorted(choose_items(strata, allot(strata, count), generator))


def describe_grouping(photos: Sequence[ScannedPhoto], request: PrepareRequest) -> str:
    """How the split was made, in words, for the manifest and the model card."""
    words = ["stratified" if request.stratify else "not stratified"]
    if request.reading.group_by:
        words.append(f"grouped by {request.reading.group_by}")
    if any(duplicate_groups(photos)):
        words.append("exact duplicates together")
    return ", ".join(words)


def _strata(labels: Sequence[str], request: PrepareRequest) -> list[str]:
    return list(labels) if request.stratify else ["all"] * len(labels)


def _targets(strata: Sequence[str], request: PrepareRequest) -> dict[str, int]:
    share = request.valid.share
    count = request.valid.count or round(len(strata) * (share or 0))
    if count >= len(strata):
        message = f"--valid {count}, but there are {len(strata)} labelled photos: ask for fewer"
        raise DatasetError(message)
    return allot(strata, count)


def _check(labels: Sequence[str], parts: Sequence[str]) -> None:
    sizes = Counter(labels)
    placed = Counter(zip(labels, parts, strict=True))
    for label, size in sorted(sizes.items()):
        for part in ("train", "valid"):
            if not placed[label, part]:
                message = (
                    f"class {label!r} has {size} photos and none of them is in {part}: "
                    "change --valid or --seed, add photos or groups, or remove the class"
                )
                raise DatasetError(message)

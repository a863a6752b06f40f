"""The same photo twice: byte for byte or to the eye, in a part, across, or mislabelled.

Duplicates across the split make validation look better than it is; the same photo with
two labels teaches nothing. Kinds are reported from the worst to the least bad.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field
from typing import Final

import numpy as np

from export.data.checks.findings import MAX_KEPT, Finding
from export.data.checks.likeness import find_like_pairs
from export.data.checks.scanning import ScannedPhoto
from models.errors import DatasetError, quoted

_REMEDIES: Final = {
    "with two labels": "look at them and keep the right label",
    "across": "remove one, or group them with a CSV and --group-by",
    "in": "remove one of them",
}


@dataclass
class _Pairs:
    """How many pairs of one kind there are, and the most alike of them."""

    count: int = 0
    worst: list[tuple[float, str]] = field(default_factory=list)

    def add(self, difference: float, text: str) -> None:
        self.count += 1
        if len(self.worst) < MAX_KEPT:
            heapq.heappush(self.worst, (-difference, text))
        else:
            heapq.heappushpop(self.worst, (-difference, text))

    def texts(self) -> tuple[str, ...]:
        return tuple(text for _, text in sorted(self.worst, reverse=True))


def find_duplicates(
    photos: Sequence[ScannedPhoto], parts: Sequence[str]
) -> tuple[Finding, ...]:
    """Exact and near duplicates among *photos*, each in its part of *parts*.

    Of exact duplicates one stands for all when looking for near ones.
    """
    found: dict[tuple[str, str, str], _Pairs] = defaultdict(_Pairs)
    first_of: dict[str, int] = {}
    for index, photo in enumerate(photos):
        first = first_of.setdefault(photo.sha256, index)
        if first != index:
            _add(found, "exact", (first, index), 0, photos, parts)
    single = list(first_of.values())
    if single:
        thumbnails = np.stack([photos[index].thumbnail for index in single])
        for pair in find_like_pairs(thumbnails):
            numbers = single[pair.first], single[pair.second]
            _add(found, "near", numbers, pair.difference, photos, parts)
    return tuple(
        Finding(
            f"{how} duplicates {where} {which}".rstrip(),
            found[how, where, which].count,
            _REMEDIES[where],
            found[how, where, which].texts(),
        )
        for where in _REMEDIES
        for how in ("exact", "near")
        for which in sorted(key[2] for key in found if key[:2] == (how, where))
    )


def check_varied(contents: Collection[str | bytes]) -> None:
    """Refuse photos whose *contents* are all the same.

    Raises:
        DatasetError: they are.
    """
    if len(contents) > 1 and len(set(contents)) == 1:
        message = (
            f"all {len(contents):,} photos are the same, or look it: see whether the "
            "originals are intact"
        )
        raise DatasetError(message)


def check_different(labels: Sequence[str], hashes: Sequence[str]) -> None:
    """Refuse classes of the same photos; *hashes* are the contents of each photo.

    Raises:
        DatasetError: all photos are the same, or two classes hold the same ones.
    """
    check_varied(hashes)
    contents: dict[str, set[str]] = defaultdict(set)
    for label, sha256 in zip(labels, hashes, strict=True):
        contents[label].add(sha256)
    first_of: dict[frozenset[str], str] = {}
    for label in sorted(contents):
        first = first_of.setdefault(frozenset(contents[label]), label)
        if first != label:
            message = (
                f"classes {quoted(first)} and {quoted(label)} hold the same photos: "
                "nothing tells them apart; remove or replace one of them"
            )
            raise DatasetError(message)


def duplicate_groups(photos: Sequence[ScannedPhoto]) -> list[str]:
    """A name that exact duplicates share, "" for a photo that is there once."""
    members: dict[str, int] = defaultdict(int)
    for photo in photos:
        members[photo.sha256] += 1
    return [
        f"same-{photo.sha256[:16]}" if members[photo.sha256] > 1 else ""
        for photo in photos
    ]


def _add(
    found: dict[tuple[str, str, str], _Pairs],
    how: str,
    pair: tuple[int, int],
    difference: float,
    photos: Sequence[ScannedPhoto],
    parts: Sequence[str],
) -> None:
    first, second = (photos[index].photo for index in pair)
    part = sorted(parts[index] for index in pair)
    sign = "=" if how == "exact" else "~"
    text = f"{first.file.path} {sign} {second.file.path}"
    where, which = "in", part[0]
    if part[0] != part[1]:
        where, which = "across", " and ".join(part)
    if first.label and second.label and first.label != second.label:
        where, which = "with two labels", ""
        text += f" ({first.label}, {second.label})"
    if how == "near":
        text += f" (difference {difference:.3f})"
    found[how, where, which].add(difference, text)

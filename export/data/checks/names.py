"""Labels and file names that make trouble later: as folders, in CSV files, elsewhere."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from export.data.checks.findings import Finding, find
from export.data.sources.photos import SourcePhoto
from models.errors import DatasetError

TINY_SHARE: Final = 1 / 20
"""A class with fewer photos than that share of the largest was hardly meant as one."""

_MAX_LABEL_BYTES: Final = 200
_QUOTED: Final = frozenset(",\"'`; ")


def check_labels(photos: Iterable[SourcePhoto]) -> tuple[Finding, ...]:
    """What is odd about the labels of *photos*: quoting, case, tiny classes.

    Raises:
        DatasetError: a label cannot be a folder's name, or there are not two labels.
    """
    counts = Counter(photo.label for photo in photos)
    for label in counts:
        _check_label(label)
    if len(counts) < 2:
        message = (
            f"{len(counts)} classes ({', '.join(counts) or 'none'}): at least two are "
            "needed to tell photos apart"
        )
        raise DatasetError(message)
    largest = max(counts.values())
    tiny = [
        f"{label} ({count} photos)"
        for label, count in sorted(counts.items(), key=lambda item: item[1])
        if count < largest * TINY_SHARE
    ]
    quoted = [repr(label) for label in sorted(counts) if not _QUOTED.isdisjoint(label)]
    return (
        *find("tiny class", tiny, "see that the folder is a class at all"),
        *find("label that CSV must quote", quoted, "give it a plainer name"),
        *find("labels alike but for case", _alike(counts), "merge or rename them"),
    )


def check_names(photos: Sequence[SourcePhoto]) -> tuple[Finding, ...]:
    """Files of one class whose names differ in case only: one is lost on other disks."""
    by_label: dict[str, list[str]] = defaultdict(list)
    for photo in photos:
        by_label[photo.label].append(photo.file.path)
    alike = [pair for paths in by_label.values() for pair in _alike(paths)]
    return find("file names alike but for case", alike, "rename all but one of them")


def _check_label(label: str) -> None:
    if not label.strip():
        raise DatasetError("a label is empty: name the class of every photo")
    odd = any(
        unicodedata.category(letter) in {"Cc", "Cs", "Zl", "Zp"} for letter in label
    )
    if odd or "/" in label or "\\" in label or label[0] == ".":
        message = (
            f"label {label!a} cannot be a folder's name (slash, control character or a "
            "dot in front): rename it"
        )
        raise DatasetError(message)
    if len(label.encode()) > _MAX_LABEL_BYTES:
        message = f"label {label[:40]!r}... is longer than {_MAX_LABEL_BYTES} bytes"
        raise DatasetError(message)


def _alike(names: Iterable[str]) -> list[str]:
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        folded = unicodedata.normalize("NFC", name).casefold()
        by_folded[folded].append(name)
    return [", ".join(sorted(each)) for each in by_folded.values() if len(each) > 1]

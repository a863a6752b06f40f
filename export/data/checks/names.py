"""Labels and file names that make trouble later: as folders, in CSV files, elsewhere."""

from __future__ import annotations

import unicodedata
from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from typing import Final

from export.data.checks.findings import Finding, find
from export.data.sources.photos import SourcePhoto
from models.errors import DatasetError, quoted
from models.text import is_utf8, normal_name, printable

TINY_SHARE: Final = 1 / 20
"""A class with fewer photos than that share of the largest was hardly meant as one."""

_MAX_LABEL_BYTES: Final = 200
_QUOTED: Final = frozenset(",\"'`; ")
_MOST_NAMED: Final = 5


def check_utf8(names: Iterable[str]) -> None:
    """Accept *names* of files and folders that a CSV, a card or a report can hold.

    Raises:
        DatasetError: some are not UTF-8; it names the first.
    """
    wrong = [printable(name) for name in names if not is_utf8(name)]
    if wrong:
        more = f" and {len(wrong) - _MOST_NAMED:,} more" if wrong[_MOST_NAMED:] else ""
        message = (
            f"names that are not UTF-8: {', '.join(wrong[:_MOST_NAMED])}{more}. Rename "
            "these files or folders (convmv does many at once)"
        )
        raise DatasetError(message)


def check_labels(photos: Sequence[SourcePhoto]) -> tuple[Finding, ...]:
    """What is odd about the labels of *photos*: quoting, case, tiny classes.

    Raises:
        DatasetError: a label cannot be a folder's name, a path is not UTF-8, or there
            are not two labels.
    """
    check_utf8(photo.file.path for photo in photos)
    counts = Counter(photo.label for photo in photos)
    for label in counts:
        _check_label(label)
    if len(counts) < 2:
        found = f"1 class ({', '.join(counts)})" if counts else "no class"
        message = f"{found}: at least two are needed to tell photos apart"
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
    """Files of one class whose names differ in case only: one is lost on other disks.

    Raises:
        DatasetError: a path is not UTF-8.
    """
    check_utf8(photo.file.path for photo in photos)
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
        message = f"label {quoted(label)} is longer than {_MAX_LABEL_BYTES} bytes"
        raise DatasetError(message)


def _alike(names: Iterable[str]) -> list[str]:
    by_folded: dict[str, list[str]] = defaultdict(list)
    for name in names:
        by_folded[normal_name(name).casefold()].append(name)
    return [", ".join(sorted(each)) for each in by_folded.values() if len(each) > 1]

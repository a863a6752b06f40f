"""The images of a job: their ids and their order, whether from a folder or an archive.

Order: numeric ids by number, then the rest by natural sort.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, NamedTuple

from models.errors import InvalidRequestError, quoted
from models.names import is_writable

_IGNORED_NAMES: Final = frozenset({"thumbs.db", "desktop.ini"})
_IGNORED_ENDINGS: Final = (".csv", ".txt", ".json", ".md")
_DIGITS: Final = re.compile("([0-9]+)")


class Item(NamedTuple):
    """One image: its id (the file's name without extension) and its file."""

    id: str
    file: str


@dataclass(frozen=True)
class Listing:
    """The images of a folder in submission order, and the names left out."""

    items: tuple[Item, ...]
    ignored: tuple[str, ...]

    def images_in(self, inner: str) -> frozenset[str]:
        """Names of its images in the folder *inner* of it; all are in ``""``."""
        return frozenset(() if inner else (item.file for item in self.items))


def order_items(files: Iterable[str]) -> tuple[Item, ...]:
    """The images in *files*, the names of one folder, in submission order.

    Raises:
        InvalidRequestError: two images of one id, or a name that cannot be written
            into a CSV.
    """
    items = []
    for file in files:
        _check_name(file)
        items.append(Item(os.path.splitext(file)[0], file))  # noqa: PTH122
    _check_unique(items)
    return tuple(sorted(items, key=_natural_key))


def is_sidecar(name: str) -> bool:
    """Whether a file of that name is left out because it is known to be no image."""
    lower = name.lower()
    return lower in _IGNORED_NAMES or lower.endswith(_IGNORED_ENDINGS)


def id_key(id_: str) -> str | int:
    """What two ids must not have in common: numbers are compared as numbers."""
    return int(id_) if _is_number(id_) else id_


def _check_name(file: str) -> None:
    if not is_writable(file):
        message = (
            f"file name {file!a} is not UTF-8 or holds control characters: "
            "rename the file"
        )
        raise InvalidRequestError(message, code="invalid_input")


def _check_unique(items: Iterable[Item]) -> None:
    seen: dict[str | int, str] = {}
    for item in items:
        other = seen.setdefault(id_key(item.id), item.file)
        if other is not item.file:
            first, second = sorted((other, item.file))
            both = f"{quoted(first)} and {quoted(second)}"
            message = f"files {both} have the same id: remove or rename one"
            raise InvalidRequestError(message, code="invalid_input")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def natural_key(name: str) -> list[str | int]:
    """What names are sorted by, so that 10 comes after 9."""
    # split() alternates text and digits, so equal positions compare equal types.
    return [
        int(part) if index % 2 else part
        for index, part in enumerate(_DIGITS.split(name))
    ]


def _natural_key(item: Item) -> tuple[bool, list[str | int], str]:
    return not _is_number(item.id), natural_key(item.id), item.file

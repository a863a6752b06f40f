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
from models.text import is_writable, normal_name

_DIGITS: Final = re.compile("([0-9]+)")


class Item(NamedTuple):
    """One image: its id (the file's name without extension, in NFC) and its file."""

    id: str
    file: str


@dataclass(frozen=True)
class Names:
    """The names in a folder, in no particular order and as the folder spells them.

    Attributes:
        files: plain files, photos or not.
        folders: folders in it.
        others: links, FIFOs and what else is neither.
    """

    files: tuple[str, ...] = ()
    folders: tuple[str, ...] = ()
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Listing:
    """The images of a folder in submission order, and what was left out.

    Attributes:
        ignored: what is no photo; the system's own files are not told.
        inner: the folder below, as ``a/b``, which was taken because it alone has photos.
    """

    items: tuple[Item, ...]
    ignored: tuple[str, ...]
    inner: str = ""

    def names(self, inner: str) -> Names:
        """The images in the folder *inner* of it; all are in ``""``."""
        return Names(() if inner else tuple(item.file for item in self.items))


def file_name(file: str) -> str:
    """The last part of *file*, which may lie in folders."""
    return file.rpartition("/")[2]


def file_stem(file: str) -> str:
    """The last part of *file* without its extension."""
    return os.path.splitext(file_name(file))[0]  # noqa: PTH122


def order_items(files: Iterable[str], inner: str = "") -> tuple[Item, ...]:
    """The images in *files*, the names in the folder *inner*, in submission order.

    Raises:
        InvalidRequestError: two images of one id, or a name that cannot be written
            into a CSV.
    """
    items = []
    for name in files:
        file = f"{inner}/{name}" if inner else name
        item = Item(normal_name(file_stem(file)), file)
        _check_name(item)
        items.append(item)
    _check_unique(items)
    return tuple(sorted(items, key=_natural_key))


def id_key(id_: str) -> str | int:
    """What two ids must not have in common: numbers are compared as numbers."""
    return int(id_) if _is_number(id_) else id_


def _check_name(item: Item) -> None:
    if item.id and is_writable(item.file):
        return
    what = "is not UTF-8 or holds control characters" if item.id else "is blank"
    message = f"file name {item.file!a} {what}: rename the file"
    raise InvalidRequestError(message, code="invalid_input")


def _check_unique(items: Iterable[Item]) -> None:
    seen: dict[str | int, str] = {}
    for item in items:
        other = seen.setdefault(id_key(item.id), item.file)
        if other is not item.file:
            first, second = sorted((other, item.file))
            # Accents that are written in two ways look the same.
            show = ascii if normal_name(first) == normal_name(second) else quoted
            both = f"{show(first)} and {show(second)}"
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

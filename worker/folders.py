"""From a folder's name to its images in stable order; nothing outside INPUT_ROOT.

Order: numeric ids by number, then the rest by natural sort. Links are never followed.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Final, NamedTuple

from models.errors import InvalidRequestError

_IGNORED_NAMES: Final = frozenset({"thumbs.db", "desktop.ini"})
_IGNORED_ENDINGS: Final = (".csv", ".txt", ".json", ".md")
_CONTROL: Final = re.compile("[\x00-\x1f\x7f\x85\u2028\u2029]")
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


def resolve_folder(input_root: Path, name: str) -> Path:
    """The directory that *name*, relative to *input_root*, stands for.

    Raises:
        InvalidRequestError: not a relative path of a directory strictly inside.
    """
    if not name.strip() or _CONTROL.search(name) or "\\" in name:
        raise _invalid(name, "it is empty or holds a backslash or control character")
    if name.startswith("/") or ".." in name.split("/"):
        raise _invalid(name, "it is absolute or holds '..'")
    try:
        root = os.path.realpath(input_root)
        folder = os.path.realpath(Path(root, name))
        inside = folder != root and os.path.commonpath([root, folder]) == root
        is_folder = inside and Path(folder).is_dir()
    except (OSError, ValueError) as error:
        raise _invalid(name, "it cannot be looked up") from error
    if not is_folder:
        raise _invalid(name, "there is no such folder")
    return Path(folder)


def list_folder(folder: Path, name: str) -> Listing:
    """The images in *folder*, which the user calls *name*.

    Raises:
        InvalidRequestError: no image, two images of one id, or a name that cannot be
            written into a CSV.
    """
    files, ignored = _scan(folder, name)
    for file in files:
        _check_name(file)
    items = [Item(os.path.splitext(file)[0], file) for file in files]  # noqa: PTH122
    if not items:
        raise _invalid(name, "it holds no image")
    _check_unique(items)
    items.sort(key=_natural_key)
    return Listing(tuple(items), tuple(sorted(ignored)))


def _scan(folder: Path, name: str) -> tuple[list[str], list[str]]:
    files: list[str] = []
    ignored: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                usable = entry.is_file(follow_symlinks=False)
                wanted = usable and not _is_sidecar(entry.name)
                (files if wanted else ignored).append(entry.name)
    except OSError as error:
        raise _invalid(name, f"it cannot be read ({error.strerror})") from error
    # A name that is no UTF-8 could not be written into the report.
    return files, [ascii(each)[1:-1] if _odd(each) else each for each in ignored]


def _is_sidecar(name: str) -> bool:
    lower = name.lower()
    return lower in _IGNORED_NAMES or lower.endswith(_IGNORED_ENDINGS)


def _odd(name: str) -> bool:
    try:
        name.encode()
    except UnicodeEncodeError:
        return True
    return _CONTROL.search(name) is not None


def _check_name(file: str) -> None:
    if _odd(file):
        message = (
            f"file name {file!a} is not UTF-8 or holds control characters: "
            "rename the file"
        )
        raise InvalidRequestError(message, code="invalid_input")


def _check_unique(items: Iterable[Item]) -> None:
    seen: dict[str | int, str] = {}
    for item in items:
        key = int(item.id) if _is_number(item.id) else item.id
        other = seen.setdefault(key, item.file)
        if other is not item.file:
            first, second = sorted((other, item.file))
            message = (
                f"files {first!r} and {second!r} have the same id: remove or rename one"
            )
            raise InvalidRequestError(message, code="invalid_input")


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdigit()


def _natural_key(item: Item) -> tuple[bool, list[str | int], str]:
    # split() alternates text and digits, so equal positions compare equal types.
    parts: list[str | int] = [
        int(part) if index % 2 else part
        for index, part in enumerate(_DIGITS.split(item.id))
    ]
    return not _is_number(item.id), parts, item.file


def _invalid(name: str, reason: str) -> InvalidRequestError:
    message = (
        f"input={name!r} cannot be used ({reason}): name a folder below INPUT_ROOT "
        "that holds images, for example 'test'"
    )
    return InvalidRequestError(message, code="invalid_input")

"""From a folder's name to its images; nothing outside INPUT_ROOT, links never followed."""

from __future__ import annotations

import errno
import os
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from worker.contained import opened_folder
from worker.items import Listing, has_control, is_sidecar, is_writable, order_items

_NOT_THERE: Final = frozenset(
    {errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG}
)


def resolve_folder(input_root: Path, name: str) -> Path:
    """The directory that *name*, relative to *input_root*, stands for.

    Raises:
        InvalidRequestError: not a relative path of a directory strictly inside.
    """
    if not name.strip() or has_control(name) or "\\" in name:
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
    items = order_items(files)
    if not items:
        raise _invalid(name, "it holds no image")
    return Listing(items, tuple(sorted(ignored)))


def images_in(folder: Path, inner: str) -> frozenset[str]:
    """Names of the images in *inner*, a path of folders below *folder* or ``""``.

    None if there is no such folder, or a link is on the way to it.

    Raises:
        InvalidRequestError: it cannot be read.
    """
    try:
        parts = inner.split("/") if inner else []
        with opened_folder(folder, parts) as opened, os.scandir(opened) as entries:
            return frozenset(entry.name for entry in entries if _is_image(entry))
    except OSError as error:
        if error.errno in _NOT_THERE:
            return frozenset()
        raise _invalid(inner, f"it cannot be read ({error.strerror})") from error


def _is_image(entry: os.DirEntry[str]) -> bool:
    if entry.name.startswith(".") or is_sidecar(entry.name):
        return False
    return entry.is_file(follow_symlinks=False)


def _scan(folder: Path, name: str) -> tuple[list[str], list[str]]:
    files: list[str] = []
    ignored: list[str] = []
    try:
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.name.startswith("."):
                    continue
                (files if _is_image(entry) else ignored).append(entry.name)
    except OSError as error:
        raise _invalid(name, f"it cannot be read ({error.strerror})") from error
    # A name that is no UTF-8 could not be written into the report.
    return files, [each if is_writable(each) else ascii(each)[1:-1] for each in ignored]


def _invalid(name: str, reason: str) -> InvalidRequestError:
    message = (
        f"input={name!r} cannot be used ({reason}): name a folder that holds images; "
        "the service looks below INPUT_ROOT"
    )
    return InvalidRequestError(message, code="invalid_input")

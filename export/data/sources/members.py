"""What the names of a zip file's members mean, and which are not to be trusted."""

from __future__ import annotations

import stat
import zipfile
from collections.abc import Iterator
from pathlib import PurePosixPath

from export.data.sources.files import is_hidden


def is_unsafe_member(member: zipfile.ZipInfo) -> bool:
    """Whether a member is a link, or has a path that leads outside or is odd."""
    name = member.filename
    outside = name.startswith("/") or ".." in name.split("/")
    odd = any(ord(letter) < 32 for letter in name) or "\\" in name or ":" in name[:2]
    return outside or odd or stat.S_ISLNK(member.external_attr >> 16)


def is_hidden_member(member: zipfile.ZipInfo) -> bool:
    """Whether a member is the system's, not the user's."""
    return any(is_hidden(part) for part in _parts(member.filename))


def place_member(stem: str, member: str) -> str:
    """The path of *member* if the archive ``<stem>.zip`` were unpacked beside itself.

    train.zip usually holds train/cat.0.jpg, but some hold cat.0.jpg: both give the same.
    """
    parts = list(_parts(member))
    if stem and parts[:1] == [PurePosixPath(stem).name]:
        del parts[0]
    return "/".join(([stem] if stem else []) + parts)


def _parts(name: str) -> Iterator[str]:
    return (part for part in name.split("/") if part not in {"", "."})

"""The file of API keys: a line a key, `name scopes rate sha256`; # begins a comment."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from models.errors import ConflictError, InvalidRequestError, NotFoundError
from models.files import open_atomically
from service.protection.keys import Key, read_key, render_key

_HEADER: Final = "# name scopes rate sha256-of-the-key"


def read_keys(path: Path) -> tuple[Key, ...]:
    """The keys in the file, in its order.

    Raises:
        InvalidRequestError: it cannot be read, or one of its lines is no key; what is
            on the line stays out of the message, because it may be a secret.
    """
    keys: dict[str, Key] = {}
    for number, line in _key_lines(_lines(path)):
        try:
            key = read_key(line)
        except InvalidRequestError:
            message = f"{path} line {number} is not `name scopes rate sha256`"
            raise InvalidRequestError(f"{message}: kennel keys add makes one") from None
        if key.name in keys:
            message = f"{path} line {number}: its name is there twice: remove one"
            raise InvalidRequestError(message)
        keys[key.name] = key
    return tuple(keys.values())


def add_key(path: Path, key: Key) -> None:
    """Put *key* into the file, which need not exist.

    Raises:
        InvalidRequestError: the file cannot be used.
        ConflictError: it has a key of that name.
        OSError: it cannot be written.
    """
    lines = _lines(path) if path.exists() else [_HEADER]
    if path.exists() and any(each.name == key.name for each in read_keys(path)):
        message = (
            f"there is a key {key.name!r}: use another name, or kennel keys rotate"
        )
        raise ConflictError(message)
    _write(path, [*lines, render_key(key)])


def replace_key(path: Path, key: Key) -> None:
    """Put *key* in the place of the one of its name; the other lines stay as they are.

    Raises:
        InvalidRequestError: the file cannot be used.
        NotFoundError: it has no key of that name.
        OSError: it cannot be written.
    """
    find_key(path, key.name)
    new = render_key(key)
    lines = _lines(path)
    _write(path, [new if line.split()[:1] == [key.name] else line for line in lines])


def find_key(path: Path, name: str) -> Key:
    """The key called *name* in the file.

    Raises:
        InvalidRequestError: the file cannot be used.
        NotFoundError: it has no such key.
    """
    for key in read_keys(path):
        if key.name == name:
            return key
    raise NotFoundError(f"no key {name!r} in {path}: see kennel keys list")


def remove_key(path: Path, name: str) -> None:
    """Take the key called *name* out of the file; the other lines stay as they are.

    Raises:
        InvalidRequestError: the file cannot be used.
        NotFoundError: it has no such key.
        OSError: it cannot be written.
    """
    find_key(path, name)
    _write(path, [line for line in _lines(path) if line.split()[:1] != [name]])


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeError) as error:
        reason = getattr(error, "strerror", None) or "it is not text"
        message = f"{path}: {reason}: kennel keys add NAME makes such a file"
        raise InvalidRequestError(message) from error


def _key_lines(lines: Iterable[str]) -> Iterator[tuple[int, str]]:
    for number, line in enumerate(lines, start=1):
        content = line.partition("#")[0].strip()
        if content:
            yield number, content


def _write(path: Path, lines: Iterable[str]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    before = path.stat() if path.exists() else None
    with open_atomically(path) as stream:
        if before is not None:
            # A service of another user may read it by its group: chgrp, chmod 640.
            os.fchown(stream.fileno(), -1, before.st_gid)
        os.fchmod(stream.fileno(), before.st_mode & 0o777 if before else 0o600)
        stream.write("".join(f"{line}\n" for line in lines).encode())

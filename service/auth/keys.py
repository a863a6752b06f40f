"""API keys: their format, the file that lists them, and the keys that are valid now.

Keys are 256 random bits, so one SHA-256 protects them: nobody can try that many, and a slow
hash (as for passwords, which people choose) would only cost time.

The file has a line for each key, `name scopes rate sha256`; # begins a comment. It is read
again whenever it changes. While it is broken or missing, the last good keys stay valid: a
mistake in it must neither lock everybody out nor let anybody in.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import re
import secrets
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from limits import RateLimitItem, parse

from models.errors import ConflictError, InvalidRequestError, NotFoundError
from models.files import WatchedFile, open_atomically

PREDICT: Final = "predict"
JOBS: Final = "jobs"
ADMIN: Final = "admin"
SCOPES: Final = (PREDICT, JOBS, ADMIN)

KEY_HEADER: Final = "X-API-Key"

KEY_PREFIX: Final = "kennel_"
"""Makes a leaked key easy to find in a log or a repository."""

_NO_RATE: Final = "-"
_KEY_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_HEADER: Final = "# name scopes rate sha256-of-the-key"
_RATE: Final = re.compile(r"[1-9][0-9]{0,8}/(second|minute|hour|day)")


@dataclass(frozen=True)
class ApiKey:
    """One API key as it is stored, without its secret.

    Attributes:
        rate: its own rate limit; None: the service's default applies.
        digest: SHA-256 of the secret, in hex.
    """

    name: str
    scopes: frozenset[str]
    rate: RateLimitItem | None
    digest: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse values that `read_key` could not read back.

        Raises:
            InvalidRequestError: the name, a scope or the digest cannot be used.
        """
        if not _KEY_NAME.fullmatch(self.name):
            message = f"key name {self.name!r}: use up to 64 letters, digits, '_', '-'"
            raise InvalidRequestError(message)
        if not self.scopes or self.scopes - set(SCOPES):
            given = ", ".join(sorted(self.scopes - set(SCOPES))) or "none"
            message = f"scopes: {given}: use some of {', '.join(SCOPES)}"
            raise InvalidRequestError(message)
        if not _DIGEST.fullmatch(self.digest):
            raise InvalidRequestError("the digest is not a SHA-256 in hex")

    def allows(self, scope: str) -> bool:
        """Whether the key has *scope*; admin has every scope."""
        return scope in self.scopes or ADMIN in self.scopes


def create_key(
    name: str, scopes: Iterable[str], rate: RateLimitItem | None
) -> tuple[ApiKey, str]:
    """A new key, and its secret, which is not stored.

    Raises:
        InvalidRequestError: the name or a scope cannot be used.
    """
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return ApiKey(name, frozenset(scopes), rate, hash_key(secret)), secret


def hash_key(secret: str) -> str:
    """The SHA-256 of *secret*, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_key(line: str) -> ApiKey:
    """The key that a *line* of the key file describes.

    Raises:
        InvalidRequestError: the line describes no key.
    """
    fields = line.split()
    if len(fields) != 4:
        raise InvalidRequestError("a key has 4 fields: name, scopes, rate, sha256")
    name, scopes, rate, digest = fields
    limit = None if rate == _NO_RATE else read_rate(rate)
    return ApiKey(name, frozenset(scopes.split(",")), limit, digest)


def render_key(key: ApiKey) -> str:
    """*key* as `read_key` reads it."""
    scopes = ",".join(scope for scope in SCOPES if scope in key.scopes)
    rate = render_rate(key.rate) if key.rate else _NO_RATE
    return f"{key.name} {scopes} {rate} {key.digest}"


def read_keys(path: Path) -> tuple[ApiKey, ...]:
    """The keys in the file, in its order.

    Raises:
        InvalidRequestError: it cannot be read, or one of its lines is no key; the
            message does not quote the line, because it may hold a secret.
    """
    keys: dict[str, ApiKey] = {}
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


def add_key(path: Path, key: ApiKey) -> None:
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


def replace_key(path: Path, key: ApiKey) -> None:
    """Replace the key that has the name of *key*; the other lines stay as they are.

    Raises:
        InvalidRequestError: the file cannot be used.
        NotFoundError: it has no key of that name.
        OSError: it cannot be written.
    """
    find_key(path, key.name)
    new = render_key(key)
    lines = _lines(path)
    _write(path, [new if line.split()[:1] == [key.name] else line for line in lines])


def find_key(path: Path, name: str) -> ApiKey:
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
    """Remove the key called *name* from the file; the other lines stay as they are.

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


class KeyRing:
    """The keys in one file, read again when it changes; thread-safe."""

    def __init__(self, path: Path) -> None:
        """Read the keys in *path*.

        Raises:
            InvalidRequestError: it is missing or broken.
        """
        self._keys = WatchedFile(path, read_keys, "API keys")

    def find(self, secret: str) -> ApiKey | None:
        """The key with *secret*; None if there is none.

        Takes the same time for every secret: all digests are compared.
        """
        digest = hash_key(secret)
        found = None
        for key in self._keys():
            if hmac.compare_digest(key.digest, digest):
                found = key
        return found

    def named(self, name: str) -> ApiKey | None:
        """The key called *name*, if there is one."""
        return next((key for key in self._keys() if key.name == name), None)


def read_rate(text: str) -> RateLimitItem:
    """The rate in *text*, for example 600/minute.

    Raises:
        InvalidRequestError: *text* is no rate.
    """
    if not _RATE.fullmatch(text):
        message = (
            f"{text!r} is not a rate: use for example 600/minute (or second, hour, day)"
        )
        raise InvalidRequestError(message)
    return parse(text)


def read_rate_variable(env: Mapping[str, str], name: str) -> RateLimitItem | None:
    """The rate in the variable *name*; None (no limit) if it is unset or empty.

    Raises:
        InvalidRequestError: it is no rate; the message names the variable.
    """
    text = env.get(name)
    try:
        return read_rate(text) if text else None
    except InvalidRequestError as error:
        raise InvalidRequestError(f"{name}: {error}") from error


def render_rate(rate: RateLimitItem) -> str:
    """*rate* as `read_rate` reads it."""
    return f"{rate.amount}/{rate.GRANULARITY.name}"

"""API keys: what they look like, what is kept of one, and what it allows.

Keys are 256 random bits, so one SHA-256 is enough to keep them: nobody can try that
many, and a slow hash (as for passwords, which people choose) would only slow us down.
"""

from __future__ import annotations

import hashlib
import re
import secrets
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Final

from limits import RateLimitItem

from models.errors import InvalidRequestError
from service.protection.rates import read_rate, render_rate

PREDICT: Final = "predict"
JOBS: Final = "jobs"
ADMIN: Final = "admin"
SCOPES: Final = (PREDICT, JOBS, ADMIN)

KEY_PREFIX: Final = "kennel_"
"""Makes a leaked key easy to find in a log or a repository."""

_NO_RATE: Final = "-"
_NAME: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}")
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")


@dataclass(frozen=True)
class Key:
    """What is known of one API key; the key itself is not.

    Attributes:
        digest: SHA-256 of the key, in hex.
        rate: None: the service's default applies.
    """

    name: str
    scopes: frozenset[str]
    rate: RateLimitItem | None
    digest: str = field(repr=False)

    def __post_init__(self) -> None:
        """Refuse what could not be read back.

        Raises:
            InvalidRequestError: the name, a scope or the digest cannot be used.
        """
        if not _NAME.fullmatch(self.name):
            message = f"key name {self.name!r}: use up to 64 letters, digits, '_', '-'"
            raise InvalidRequestError(message)
        if not self.scopes or self.scopes - set(SCOPES):
            given = ", ".join(sorted(self.scopes - set(SCOPES))) or "none"
            message = f"scopes: {given}: use some of {', '.join(SCOPES)}"
            raise InvalidRequestError(message)
        if not _DIGEST.fullmatch(self.digest):
            raise InvalidRequestError("the digest is not a SHA-256 in hex")

    def allows(self, scope: str) -> bool:
        """Whether the key may do what needs *scope*; admin may do everything."""
        return scope in self.scopes or ADMIN in self.scopes


def create_key(
    name: str, scopes: Iterable[str], rate: RateLimitItem | None
) -> tuple[Key, str]:
    """A new key: what to keep of it, and the secret itself.

    Raises:
        InvalidRequestError: the name or a scope cannot be used.
    """
    secret = KEY_PREFIX + secrets.token_urlsafe(32)
    return Key(name, frozenset(scopes), rate, hash_key(secret)), secret


def hash_key(secret: str) -> str:
    """The digest under which a key is kept, in hex."""
    return hashlib.sha256(secret.encode()).hexdigest()


def read_key(line: str) -> Key:
    """The key that a *line* of the key file describes.

    Raises:
        InvalidRequestError: it describes none.
    """
    fields = line.split()
    if len(fields) != 4:
        raise InvalidRequestError("a key has 4 fields: name, scopes, rate, sha256")
    name, scopes, rate, digest = fields
    limit = None if rate == _NO_RATE else read_rate(rate)
    return Key(name, frozenset(scopes.split(",")), limit, digest)


def render_key(key: Key) -> str:
    """*key* as `read_key` reads it."""
    scopes = ",".join(scope for scope in SCOPES if scope in key.scopes)
    rate = render_rate(key.rate) if key.rate else _NO_RATE
    return f"{key.name} {scopes} {rate} {key.digest}"

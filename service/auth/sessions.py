"""Sessions of people at the web pages: a signed cookie instead of a key.

The cookie is signed with a secret that follows from the key's digest, so that removing
a key ends its sessions, and all processes agree without being told anything. Only a
session that its owner ended has to be remembered, in Redis, until it would be too old.

While Redis is away sessions go on, and each process knows the ends that it was told of
itself; it tells the others when Redis is back. The other way round nobody could use the
pages without Redis, to keep out who copied a cookie that lives for 12 hours.
"""

from __future__ import annotations

import hashlib
import secrets
import time
from typing import Final

from itsdangerous import BadSignature, TimestampSigner

from service.auth.keys import ApiKey, KeyRing
from service.auth.rate_limits import Limiter

SESSION_COOKIE: Final = "kennel_session"
SESSION_SECONDS: Final = 12 * 3600
REDIS_SECONDS: Final = 1.0
"""A person may wait for Redis longer than a prediction; once in each pause."""


class Sessions:
    """The sessions of the keys in one ring; thread-safe."""

    def __init__(self, ring: KeyRing, limiter: Limiter) -> None:
        """Share with other processes, through *limiter*, which sessions were ended."""
        self._ring = ring
        self._limiter = limiter
        self._ended: dict[str, float] = {}
        self._untold: set[str] = set()

    def begin(self, key: ApiKey) -> str:
        """The cookie of a person who has shown *key*."""
        value = f"{key.name}:{secrets.token_urlsafe(16)}"
        return _signer(key).sign(value).decode()

    def read(self, cookie: str) -> ApiKey | None:
        """The key whose session *cookie* is.

        None: it is forged, too old or was ended, or its key is gone.
        """
        found = self._verified(cookie)
        if found is None:
            return None
        key, session = found
        self._tell()
        if session in self._ended or self._limiter.is_marked(_mark(session)):
            return None
        return key

    def end(self, cookie: str) -> None:
        """Let nobody use *cookie* any more, if it is a session's."""
        found = self._verified(cookie)
        if found is None:
            return
        _, session = found
        now = time.monotonic()
        for old in [each for each, until in self._ended.copy().items() if until < now]:
            self._ended.pop(old, None)
        self._ended[session] = now + SESSION_SECONDS
        self._untold.add(session)
        self._tell()

    def _verified(self, cookie: str) -> tuple[ApiKey, str] | None:
        # name:id.time.signature, and names have no colons.
        name, _, rest = cookie.partition(":")
        key = self._ring.named(name)
        if key is None or not rest:
            return None
        try:
            value = _signer(key).unsign(cookie, max_age=SESSION_SECONDS)
        except BadSignature:
            return None
        return key, value.decode()

    def _tell(self) -> None:
        for session in self._untold.copy():
            if not self._limiter.mark(_mark(session), SESSION_SECONDS):
                return
            self._untold.discard(session)


def _mark(session: str) -> str:
    return f"ended/{session}"


def _signer(key: ApiKey) -> TimestampSigner:
    return TimestampSigner(
        key.digest, salt="kennel session", digest_method=hashlib.sha256
    )

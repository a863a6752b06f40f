"""Sessions of people at the web pages: a signed cookie instead of a key.

The cookie is signed with a secret that follows from the key's digest, so that removing
a key ends its sessions, and all processes agree without being told anything.
"""

from __future__ import annotations

import hashlib
from typing import Final

from itsdangerous import BadSignature, TimestampSigner

from service.protection.keyring import KeyRing
from service.protection.keys import Key

SESSION_COOKIE: Final = "kennel_session"
SESSION_SECONDS: Final = 12 * 3600


def sign_session(key: Key) -> str:
    """The cookie of a person who has shown *key*."""
    return _signer(key).sign(key.name).decode()


def read_session(cookie: str, ring: KeyRing) -> Key | None:
    """The key whose session *cookie* is; None: it is forged, too old, or its key gone."""
    # name.time.signature, and names have no dots.
    key = ring.named(cookie.partition(".")[0])
    if key is None:
        return None
    try:
        _signer(key).unsign(cookie, max_age=SESSION_SECONDS)
    except BadSignature:
        return None
    return key


def _signer(key: Key) -> TimestampSigner:
    return TimestampSigner(
        key.digest, salt="kennel session", digest_method=hashlib.sha256
    )

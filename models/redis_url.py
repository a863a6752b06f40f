"""Where Redis is, with a password that may lie in a file of its own.

Containers get secrets as files: variables show in what engines print about containers.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Final
from urllib.parse import quote, urlsplit

from models.errors import InvalidRequestError

PASSWORD_FILE_VARIABLE: Final = "REDIS_PASSWORD_FILE"


def read_redis_url(env: Mapping[str, str], name: str, default: str) -> str:
    """Where Redis is: the URL in *name*, with the password in REDIS_PASSWORD_FILE.

    A password that stands in the URL itself is kept.

    Raises:
        InvalidRequestError: it is no Redis URL; the value stays out of the message,
            because it may hold a password. Or the file cannot be read, or is empty.
    """
    url = env.get(name) or default
    if not _is_redis_url(url):
        raise InvalidRequestError(
            f"{name} is no Redis URL: use for example {default}, and an IPv6 address in "
            "brackets, redis://[::1]:6379/0"
        )
    file = env.get(PASSWORD_FILE_VARIABLE)
    if not file or urlsplit(url).password is not None:
        return url
    return _with_password(url, _read_password(Path(file)))


def _is_redis_url(url: str) -> bool:
    try:
        port = urlsplit(url).port
    except ValueError:
        return False
    return port != 0 and url.startswith(("redis://", "rediss://", "unix://"))


def _with_password(url: str, password: str) -> str:
    parts = urlsplit(url)
    user, _, place = parts.netloc.rpartition("@")
    credentials = f"{user.removesuffix(':')}:{quote(password, safe='')}"
    return parts._replace(netloc=f"{credentials}@{place}").geturl()


def _read_password(file: Path) -> str:
    try:
        password = file.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        reason = getattr(error, "strerror", None) or "it is no text"
        message = f"{PASSWORD_FILE_VARIABLE}={str(file)!r} cannot be read: {reason}"
        raise InvalidRequestError(message) from error
    if not password:
        raise InvalidRequestError(f"{PASSWORD_FILE_VARIABLE}={str(file)!r} is empty")
    return password

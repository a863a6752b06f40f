"""Which addresses of this machine a port is open on; Linux tells in /proc/net."""

from __future__ import annotations

import ipaddress
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Final

_LISTENING: Final = "0A"


def wide_listeners(port: int, proc: Path = Path("/proc/net")) -> list[str]:
    """The addresses beyond loopback that somebody listens on at *port*, in order.

    Of what listens in another network namespace (a container) nothing is known.
    """
    found = {
        str(address)
        for table in ("tcp", "tcp6")
        for address, its_port in _listeners(proc / table)
        if its_port == port and not address.is_loopback
    }
    return sorted(found)


def _listeners(
    table: Path,
) -> Iterator[tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int]]:
    try:
        lines = table.read_text(encoding="ascii").splitlines()[1:]
    except OSError:
        return
    for line in lines:
        _, local, _, state = line.split()[:4]
        if state == _LISTENING:
            address, port = local.split(":")
            yield ipaddress.ip_address(_packed(address)), int(port, 16)


def _packed(address: str) -> bytes:
    # Words of 32 bits in the machine's own order (Linux, net/ipv4/tcp_ipv4.c).
    words = struct.unpack(f"!{len(address) // 8}I", bytes.fromhex(address))
    return b"".join(struct.pack("=I", word) for word in words)

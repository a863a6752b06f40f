"""The hosts by which this service may be called: loopback, HOST, and ALLOWED_HOSTS.

A web page could point its own name at this machine (DNS rebinding), and would then
count as one of our own pages. It cannot do that with an address or a name of ours.
"""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

from models.errors import InvalidRequestError, quoted

VARIABLE: Final = "ALLOWED_HOSTS"
ANY_HOST: Final = "*"

_LOOPBACK: Final = ("localhost", "127.0.0.1", "::1")
_HOST: Final = re.compile(r"(\[[0-9a-f:.]{2,45}\]|[a-z0-9._-]{1,254})(?::\d{0,5})?")
_ENTRY: Final = re.compile(r"\*|\.?[a-z0-9_-]+(\.[a-z0-9_-]+)*|[0-9a-f:]*:[0-9a-f:.]+")

_DEFAULT_PORTS: Final = {"http": 80, "https": 443}

Origin: TypeAlias = tuple[str, str, int | None]
"""Scheme, host and port, as they are compared."""

_Address: TypeAlias = ipaddress.IPv4Address | ipaddress.IPv6Address


def read_allowed_hosts(env: Mapping[str, str]) -> tuple[str, ...]:
    """The entries of ALLOWED_HOSTS: names, addresses, ``.example.com``, or ``*``.

    Raises:
        InvalidRequestError: one of them is something else, for example a URL.
    """
    entries = [each.strip() for each in (env.get(VARIABLE) or "").split(",")]
    hosts = tuple(_bare(each) for each in entries if each)
    for host in hosts:
        if not _ENTRY.fullmatch(host) or (":" in host and _address(host) is None):
            message = (
                f"{VARIABLE}: {quoted(host)} is not a host: list names or "
                "addresses without scheme and port, as in kennel.example.com,10.0.0.7"
            )
            raise InvalidRequestError(message)
    return hosts


@dataclass(frozen=True)
class AllowedHosts:
    """The hosts by which a service may be called, on any port.

    Attributes:
        names: names and addresses; one that begins with a dot allows its subdomains.
        any_address: any IP address is allowed as well.
        any_host: whatever is sent is allowed.
    """

    names: frozenset[str]
    any_address: bool = False
    any_host: bool = False

    @classmethod
    def of(cls, bind_host: str, listed: Iterable[str] = ()) -> Self:
        """Loopback, *bind_host* (HOST) and those that are *listed* (ALLOWED_HOSTS).

        A service that listens on all addresses may be called by any of them.
        """
        names = {canonical(each) for each in (bind_host, *listed)}
        address = _address(_bare(bind_host))
        return cls(
            names=frozenset({*_LOOPBACK, *names}),
            any_address=address is not None and address.is_unspecified,
            any_host=ANY_HOST in names,
        )

    def allows(self, host: str) -> bool:
        """Whether *host*, as a Host header has it, is one of them."""
        if self.any_host:
            return True
        matched = _HOST.fullmatch(host.lower())
        if matched is None:
            return False
        name = _bare(matched[1])
        if name in self.names:
            return True
        address = _address(name)
        if address is None:
            suffixes = (name[dot:] for dot, each in enumerate(name) if each == ".")
            return not self.names.isdisjoint(suffixes)
        return self.any_address or address.is_loopback or str(address) in self.names


def is_loopback(bind_host: str) -> bool:
    """Whether only this machine reaches a service that listens at *bind_host*."""
    address = _address(_bare(bind_host))
    return bind_host == "localhost" if address is None else address.is_loopback


def read_origin(url: str) -> Origin | None:
    """The origin of *url*, which may be one itself; None: it has none."""
    try:
        parts = urlsplit(url)
        port = parts.port
    except ValueError:
        return None
    if not parts.hostname:
        return None
    host = canonical(parts.hostname)
    return parts.scheme, host, port or _DEFAULT_PORTS.get(parts.scheme)


def canonical(host: str) -> str:
    """*host*, a name or address without a port, in the one form that is compared."""
    bare = _bare(host)
    address = _address(bare)
    return bare if address is None else str(address)


def _bare(host: str) -> str:
    return host.lower().strip("[]").removesuffix(".")


def _address(host: str) -> _Address | None:
    try:
        return ipaddress.ip_address(host)
    except ValueError:
        return None

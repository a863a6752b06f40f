"""Hosts and ports in one text, and what MODEL_SERVER may say: one server, or several.

``host:port`` and ``dns:///host:port`` stand for every address that the name has;
``IP:port,IP:port`` lists them. gRPC looks up one name a channel, so a list has none.
"""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final

from models.errors import InvalidRequestError

_ADDRESS: Final = re.compile(
    r"(?P<resolver>dns://[^\s/,]*/)?"
    r"(?P<host>\[[^\s\[\]/]+\]|[^\s/,:\[\]]+):(?P<port>[0-9]{1,5})"
)


@dataclass(frozen=True)
class ModelAddress:
    """One or several model servers, as gRPC is told of them.

    Attributes:
        target: in gRPC's naming (grpc's doc/naming.md).
        may_be_several: a name or a list, not one IP address.
    """

    target: str
    may_be_several: bool


def parse_model_address(text: str) -> ModelAddress:
    """The model servers that *text* names.

    Raises:
        InvalidRequestError: it names none; the message says what can be said.
    """
    found = [_ADDRESS.fullmatch(each) for each in text.split(",")]
    matches = [match for match in found if match is not None]
    if len(matches) < len(found):
        message = (
            f"{text!r} is not host:port, dns:///host:port or IP:port,IP:port (an IPv6 "
            "address in brackets: [::1]:8500)"
        )
        raise InvalidRequestError(message)
    versions = {_ip_version(match) for match in matches}
    if len(matches) == 1:
        return ModelAddress(text, may_be_several=None in versions)
    if versions not in ({4}, {6}):
        message = (
            f"{text!r} lists names, or IPv4 beside IPv6: list addresses of one kind, "
            "or give the servers one name"
        )
        raise InvalidRequestError(message)
    return ModelAddress(f"ipv{versions.pop()}:{text}", may_be_several=True)


def host_and_port(host: str, port: int) -> str:
    """*host*, a name or an IP address, and *port* as URLs and gRPC write them."""
    bare = bare_host(host)
    return f"[{bare}]:{port}" if ":" in bare else f"{bare}:{port}"


def bare_host(host: str) -> str:
    """*host* without the brackets that an IPv6 address has in a URL."""
    return host.strip("[]")


def _ip_version(match: re.Match[str]) -> int | None:
    if match["resolver"]:
        return None
    try:
        return ipaddress.ip_address(match["host"].strip("[]")).version
    except ValueError:
        return None

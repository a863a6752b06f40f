"""Ports of this machine: free ones for a second stack, and a clear word when one is taken."""

from __future__ import annotations

import errno
import socket
from typing import Final

from models.environment import bare_host
from models.errors import InvalidRequestError

_FAULTS_OF_THE_PORT: Final = frozenset({errno.EADDRINUSE, errno.EACCES})


def choose_port(wanted: int, host: str, option: str) -> int:
    """*wanted* if nobody listens there, any free port if it is 0.

    Raises:
        InvalidRequestError: the port is taken, and the message names the *option*; or
            nothing can listen at *host*.
    """
    bare = bare_host(host)
    family = socket.AF_INET6 if ":" in bare else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((bare, wanted))
        except OSError as error:
            if error.errno not in _FAULTS_OF_THE_PORT:
                message = (
                    f"{host!r} is no address of this machine ({error.strerror}): choose "
                    "another with --host"
                )
                raise InvalidRequestError(message) from error
            message = (
                f"port {wanted} on {host} cannot be used ({error.strerror}): "
                f"choose another with {option}, or {option} 0 for any free one"
            )
            raise InvalidRequestError(message) from error
        return int(probe.getsockname()[1])

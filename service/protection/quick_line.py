"""Calls to a socket that keep the interpreter's lock; for one thread, and no waiting.

Python gives its lock away around every call to a socket. A refusal made three such calls,
and beside three busy threads waited up to 51 ms to get the lock back (measured). These
never block and are over in microseconds: with them it waited 0.1 ms at most, and took
10 instead of 50 us, since nothing is allocated for what is looked at.
"""

from __future__ import annotations

import ctypes
import os
import socket
from typing import Final

LONGEST_BYTES: Final = 256 * 1024
"""As much as is looked at: a few photos. Larger ones rarely are in the kernel whole."""

_libc: Final = ctypes.PyDLL(None, use_errno=True)
_libc.recv.restype = _libc.send.restype = ctypes.c_ssize_t
_libc.recv.argtypes = (ctypes.c_int, ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)
_libc.send.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_size_t, ctypes.c_int)


class QuickLine:
    """Sees, takes and sends what one thread has to do with its connections."""

    def __init__(self) -> None:
        """Make room for what waits at a connection, once."""
        self._room = ctypes.create_string_buffer(LONGEST_BYTES)

    def peek(self, connection: socket.socket) -> bytes:
        """What waits at *connection* and stays there; empty at its end.

        Raises:
            OSError: nothing waits, or the connection broke.
        """
        count = self._receive(connection, LONGEST_BYTES, socket.MSG_PEEK)
        return ctypes.string_at(self._room, count)

    def is_at_end(self, connection: socket.socket) -> bool:
        """Whether who sent to *connection* has closed it, and nothing waits there."""
        try:
            return self._receive(connection, 1, socket.MSG_PEEK) == 0
        except OSError:
            return False

    def take(self, connection: socket.socket, count: int) -> None:
        """Take *count* bytes that wait at *connection* off the line.

        Raises:
            OSError: so many are not there.
        """
        while count > 0:
            taken = self._receive(connection, min(count, LONGEST_BYTES), 0)
            if taken == 0:
                raise ConnectionResetError
            count -= taken

    def send(self, connection: socket.socket, answer: bytes) -> None:
        """Send a short *answer*, whole.

        Raises:
            OSError: the line does not take it now, or the connection broke.
        """
        flags = socket.MSG_DONTWAIT
        sent = _checked(_libc.send(connection.fileno(), answer, len(answer), flags))
        if sent < len(answer):
            raise BlockingIOError

    def _receive(self, connection: socket.socket, most: int, flags: int) -> int:
        flags |= socket.MSG_DONTWAIT
        return _checked(_libc.recv(connection.fileno(), self._room, most, flags))


def _checked(count: int) -> int:
    if count < 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))
    return count

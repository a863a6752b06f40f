"""A connection is not given up in the moment in which its next request comes."""

from __future__ import annotations

import select
import socket
import time
from collections import deque
from collections.abc import Iterator
from contextlib import ExitStack

import pytest
from gunicorn.config import Config  # type: ignore[import-untyped]
from gunicorn.workers.gthread import TConn  # type: ignore[import-untyped]

from service.kept_connections import spare_speakers


@pytest.fixture
def lines() -> Iterator[list[tuple[socket.socket, TConn]]]:
    """Clients' ends, and connections whose time is over, longest first."""
    with ExitStack() as opened:
        pairs = [socket.socketpair() for _ in range(3)]
        for end in (end for pair in pairs for end in pair):
            opened.enter_context(end)
        made = [
            (client, TConn(Config(), server, None, None)) for client, server in pairs
        ]
        for age, (_, connection) in zip((3, 2, 1), made, strict=True):
            connection.timeout = time.monotonic() - age
        yield made


def test_only_connections_with_a_request_stay(
    lines: list[tuple[socket.socket, TConn]],
) -> None:
    (_, silent), (speaker, speaking), (leaver, left) = lines
    speaker.sendall(b"POST")
    leaver.close()
    assert select.select([speaking.sock, left.sock], [], [], 5)[0]
    waiting = deque([silent, speaking, left])

    spare_speakers(waiting)

    assert list(waiting) == [silent, left, speaking]
    assert speaking.timeout > time.monotonic() > left.timeout
    assert speaking.sock.recv(9) == b"POST"


def test_connections_that_still_have_time_are_left_alone(
    lines: list[tuple[socket.socket, TConn]],
) -> None:
    (speaker, speaking), *_ = lines
    speaking.timeout = time.monotonic() + 60
    speaker.sendall(b"POST")

    spare_speakers(deque([speaking]))

    assert speaking.timeout > time.monotonic() + 50

"""Deadlines of requests: they move with what arrives, and only for bodies."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from threading import Timer

import pytest

from service.protection.errors import SlowClientError
from service.protection.patience import SEND_SECONDS, Patience, PatientReader

PATIENCE = Patience(head_seconds=0.05, body_seconds=0.05, body_bytes_per_second=10)
LATE_SECONDS = 0.2


@pytest.fixture
def line() -> Iterator[tuple[socket.socket, PatientReader]]:
    client, server = socket.socketpair()
    with client, server:
        server.settimeout(SEND_SECONDS)
        yield client, PatientReader(server, PATIENCE)


def send_late(client: socket.socket) -> Timer:
    timer = Timer(LATE_SECONDS, client.sendall, [b"late"])
    timer.start()
    return timer


def test_body_that_flows_may_take_longer(
    line: tuple[socket.socket, PatientReader],
) -> None:
    client, reader = line
    reader.expect_body()
    client.sendall(b"a" * 100)
    assert len(reader.chunk()) == 100

    timer = send_late(client)

    assert reader.chunk() == b"late"
    timer.join()


@pytest.mark.parametrize("part", ["head", "body"])
def test_late_bytes_are_not_waited_for(
    line: tuple[socket.socket, PatientReader], part: str
) -> None:
    client, reader = line
    if part == "head":
        reader.expect_head()
        client.sendall(b"a" * 100)
        reader.chunk()
    else:
        reader.expect_body()
    timer = send_late(client)

    with pytest.raises(SlowClientError):
        reader.chunk()
    timer.join()


def test_heads_need_no_more_time_than_bodies() -> None:
    assert Patience.of(2.0).head_seconds == 2.0
    assert Patience.of(60.0).head_seconds == Patience().head_seconds

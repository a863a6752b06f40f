"""Under an overload, plain requests are refused where they lie."""

from __future__ import annotations

import http.client
import socket
from collections.abc import Iterator
from contextlib import closing, contextmanager

import pytest
from flask import Flask

from models.wire.client import ModelServerClient
from service.app import create_app
from service.http.concurrency_limit import ConcurrencyLimit
from service.server.load_shedding import QuickLine, TurnAway, WaitingRequest
from service.settings import ServiceSettings
from service.telemetry.hooks import Telemetry
from worker.queue import JobQueue

PHOTO = bytes(40_000)
REFUSED = 'http_requests_total{method="POST",route="/v1/predict",status="503"} 2.0'
HEAD = (
    b"POST /v1/predict?top=1 HTTP/1.1\r\nHost: localhost\r\n"
    b"X-Request-Id: mine-1\r\nContent-Type: image/jpeg\r\nContent-Length: 40000\r\n\r\n"
)


@contextmanager
def line() -> Iterator[tuple[socket.socket, socket.socket]]:
    """A client's end of a connection, and the server's, which does not block."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        server, _ = listener.accept()
        server.setblocking(False)
        with client, server:
            yield client, server


@pytest.fixture
def observation() -> Telemetry:
    return Telemetry()


@pytest.fixture
def app(
    settings: ServiceSettings, model_client: ModelServerClient, observation: Telemetry
) -> Flask:
    queue = JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)
    return create_app(settings, model_client, queue, observation)


def turn_away(app: Flask, observation: Telemetry, *, crowded: bool) -> TurnAway:
    gate = ConcurrencyLimit(app.wsgi_app, 1, lambda: 3.2, 1024)
    if crowded:
        gate.is_crowded = lambda under_way: True  # type: ignore[method-assign]
    return TurnAway(app, gate, observation.metrics.traffic)


def arrived(server: socket.socket, size: int) -> bool:
    server.settimeout(5)
    data = server.recv(size, socket.MSG_PEEK | socket.MSG_WAITALL)
    server.setblocking(False)
    return len(data) == size


def test_plain_request_is_refused_and_another_may_follow(
    app: Flask, observation: Telemetry
) -> None:
    busy = turn_away(app, observation, crowded=True)
    with line() as (client, server):
        for _ in range(2):
            client.sendall(HEAD + PHOTO)
            assert arrived(server, len(HEAD) + len(PHOTO))
            assert busy.refuse(server, 0)
            with closing(http.client.HTTPResponse(client)) as answer:
                answer.begin()
                assert answer.status == 503
                assert answer.headers["Retry-After"] == "4"
                assert answer.headers["X-Request-ID"] == "mine-1"
                assert b'"code": "overloaded"' in answer.read()

    exposed = app.test_client().get("/metrics").text
    assert REFUSED in exposed


def test_nobody_is_refused_while_there_is_a_place(app: Flask) -> None:
    idle = turn_away(app, Telemetry(), crowded=False)
    with line() as (client, server):
        client.sendall(HEAD + PHOTO)
        assert arrived(server, len(HEAD) + len(PHOTO))

        assert not idle.refuse(server, 0)
        assert arrived(server, len(HEAD) + len(PHOTO))


def test_requests_on_their_way_to_a_place_count(
    app: Flask, observation: Telemetry
) -> None:
    idle = turn_away(app, observation, crowded=False)
    with line() as (client, server):
        client.sendall(HEAD + PHOTO)
        assert arrived(server, len(HEAD) + len(PHOTO))

        assert idle.refuse(server, 1)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        HEAD,
        HEAD + PHOTO[1:],
        HEAD + PHOTO + b"G",
        HEAD.replace(b"POST", b"GET") + PHOTO,
        HEAD.replace(b"1.1", b"1.0") + PHOTO,
        HEAD.replace(b"Host", b"Connection") + PHOTO,
        HEAD.replace(b"Host: localhost", b"Expect: 100-continue") + PHOTO,
        HEAD.replace(b"Host: localhost", b"Transfer-Encoding: chunked") + PHOTO,
        HEAD.replace(b"Host: localhost", b"Content-Length: 40000") + PHOTO,
        HEAD.replace(b"Host: localhost", b"content-length : 1") + PHOTO,
        HEAD.replace(b"40000", b"+40000") + PHOTO,
        HEAD.replace(b"\r\n", b"\n") + PHOTO,
        b"POST /" + b"a" * 9000 + b" HTTP/1.1\r\nContent-Length: 0\r\n\r\n",
    ],
)
def test_what_is_not_plain_is_left_to_the_parser(data: bytes) -> None:
    assert WaitingRequest.read(data) is None


def test_what_is_known_of_a_plain_request() -> None:
    found = WaitingRequest.read(HEAD + PHOTO)

    assert found == WaitingRequest(
        method="POST",
        path="/v1/predict",
        request_id="mine-1",
        size=len(HEAD) + len(PHOTO),
    )


def test_closed_connection_is_left_to_the_parser(
    app: Flask, observation: Telemetry
) -> None:
    with line() as (client, server):
        client.shutdown(socket.SHUT_RDWR)

        assert not turn_away(app, observation, crowded=True).refuse(server, 0)


def test_silent_connection_is_an_error_at_once() -> None:
    with line() as (_, server), pytest.raises(BlockingIOError):
        QuickLine().peek(server)


def test_line_is_at_its_end_once_it_is_closed_and_empty() -> None:
    quick = QuickLine()
    with line() as (client, server):
        assert not quick.is_at_end(server)
        client.sendall(b"POST")
        client.shutdown(socket.SHUT_WR)
        assert arrived(server, 4)

        assert not quick.is_at_end(server)
        quick.take(server, 4)
        assert quick.is_at_end(server)


def test_what_was_peeked_at_is_still_there_until_it_is_taken() -> None:
    quick = QuickLine()
    with line() as (client, server):
        client.sendall(b"POST and more")
        assert arrived(server, 13)

        assert quick.peek(server) == quick.peek(server) == b"POST and more"
        quick.take(server, 5)
        assert quick.peek(server) == b"and more"


def test_answer_that_the_line_does_not_take_is_an_error() -> None:
    with line() as (_, server), pytest.raises(BlockingIOError):
        QuickLine().send(server, bytes(64 * 1024 * 1024))


def test_refusals_are_told_in_one_line(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    busy = turn_away(app, Telemetry(), crowded=True)
    with line() as (client, server):
        for _ in range(3):
            client.sendall(HEAD + PHOTO)
            assert arrived(server, len(HEAD) + len(PHOTO))
            assert busy.refuse(server, 0)
    busy.tell()
    busy.tell()

    assert [record.message for record in caplog.records] == [
        "3 requests were refused unread: overloaded"
    ]

"""Load shedding: under overload, POSTs are refused before Flask sees them."""

from __future__ import annotations

import http.client
import select
import socket
from collections.abc import Iterator
from contextlib import closing, suppress

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from service.http.errors import OverloadedError
from service.server.load_shedding import (
    REFUSED,
    SentRequest,
    WaitingBytes,
    load_shedding_of,
)

COUNTED = 'http_requests_total{method="POST",route="/v1/predict",status="503"} 2.0'
UNMATCHED = 'http_requests_refused_total{route="unmatched"} 1.0'


PHOTO = bytes(40_000)
HEAD = (
    b"POST /v1/predict?top=1 HTTP/1.1\r\nHost: localhost\r\n"
    b"X-Request-Id: mine-1\r\nContent-Type: image/jpeg\r\nContent-Length: 40000\r\n\r\n"
)


@pytest.fixture
def connection() -> Iterator[tuple[socket.socket, socket.socket]]:
    """The client's end of a connection and the server's."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        client = socket.create_connection(listener.getsockname(), timeout=5)
        server, _ = listener.accept()
        with client, server:
            yield client, server


def send(connection: tuple[socket.socket, socket.socket], data: bytes) -> None:
    """Send *data*; returns when all of it waits at the server's end."""
    client, server = connection
    client.sendall(data)
    server.settimeout(5)
    waiting = server.recv(len(data), socket.MSG_PEEK | socket.MSG_WAITALL)
    assert waiting == data
    server.setblocking(False)


def ask(client: FlaskClient, method: str, path: str, **headers: str) -> TestResponse:
    """The answer to a request that the concurrency limit refuses."""
    refused = {REFUSED: OverloadedError("full", 3.2)}
    named = {name.replace("_", "-"): text for name, text in headers.items()}
    return client.open(path, method=method, headers=named, environ_overrides=refused)


def test_post_is_refused_as_a_problem(client: FlaskClient) -> None:
    refused = ask(client, "POST", "/v1/predict?top=1", X_Request_ID="mine-1")

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert refused.mimetype == "application/problem+json"
    assert refused.headers["Retry-After"] == "4"
    assert (
        refused.headers["X-Request-ID"] == refused.get_json()["request_id"] == "mine-1"
    )
    assert "traceparent" not in refused.headers


def test_refusals_are_counted_by_route(client: FlaskClient) -> None:
    for path in ("/v1/predict", "/v1/predict", "/v1/elsewhere"):
        ask(client, "POST", path, X_Request_ID="a b")

    exposed = client.get("/metrics").text
    assert COUNTED in exposed
    assert UNMATCHED in exposed


def test_others_are_refused_by_the_application(client: FlaskClient) -> None:
    refused = ask(client, "GET", "/v1/models")

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert "traceparent" in refused.headers


def test_refusals_of_a_second_are_one_line(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        ask(client, "POST", "/v1/predict")

    assert [record.message for record in caplog.records] == [
        "overloaded: 1 requests refused since the last such line"
    ]


def test_waiting_post_is_refused_and_another_may_follow(
    app: Flask, connection: tuple[socket.socket, socket.socket]
) -> None:
    for _ in range(2):
        send(connection, HEAD + PHOTO)
        assert load_shedding_of(app).refuse_waiting(connection[1])
        with closing(http.client.HTTPResponse(connection[0])) as answer:
            answer.begin()
            assert answer.status == 503
            assert answer.headers["Retry-After"]
            assert answer.headers["X-Request-ID"] == "mine-1"
            assert b'"code": "overloaded"' in answer.read()

    assert COUNTED in app.test_client().get("/metrics").text


def test_closed_connection_is_left_to_a_thread(
    app: Flask, connection: tuple[socket.socket, socket.socket]
) -> None:
    connection[0].shutdown(socket.SHUT_RDWR)

    assert not load_shedding_of(app).refuse_waiting(connection[1])


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
def test_request_that_is_not_plain_is_left_to_a_thread(data: bytes) -> None:
    assert SentRequest.parse(data) is None


def test_silent_connection_is_an_error_at_once(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    with pytest.raises(BlockingIOError):
        WaitingBytes().peek(connection[1])


def test_bytes_wait_until_they_are_taken(
    connection: tuple[socket.socket, socket.socket],
) -> None:
    waiting = WaitingBytes()
    send(connection, b"POST and more")

    assert waiting.peek(connection[1]) == b"POST and more"
    waiting.take(connection[1], 5)
    assert waiting.peek(connection[1]) == b"and more"


def test_client_that_takes_no_answer_loses_its_connection(
    app: Flask, connection: tuple[socket.socket, socket.socket]
) -> None:
    _, server = connection
    server.setblocking(False)
    while select.select([], [server], [], 0.2)[1]:
        with suppress(BlockingIOError):
            server.send(bytes(1_000_000))
    with suppress(BlockingIOError):
        while True:
            server.send(b".")
    send(connection, HEAD + PHOTO)

    assert load_shedding_of(app).refuse_waiting(server)
    assert WaitingBytes().peek(server) == b""

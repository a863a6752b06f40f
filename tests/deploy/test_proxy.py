"""The proxy in front of the API: a real nginx with our configuration."""

from __future__ import annotations

import json
import socket
import ssl
import subprocess
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from tests.deploy.proxy import (
    BreakingReplica,
    BusyReplica,
    Proxy,
    replica,
    running_proxy,
)
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.api_process import ApiProcess
from tests.service.served_model import ServedModel

FIRST, SECOND = "127.0.0.1", "127.0.0.2"
FORM_BYTES = 1024**2


@pytest.fixture
def proxy(tmp_path: Path) -> Iterator[Proxy]:
    limits = {"MAX_REQUEST_BYTES": "1024", "MAX_UPLOAD_BYTES": str(4 * FORM_BYTES)}
    with running_proxy(tmp_path, FIRST, **limits) as started:
        yield started


@pytest.fixture
def asked(proxy: Proxy) -> Iterator[list[str]]:
    with replica(FIRST, proxy.api_port) as paths:
        yield paths


@pytest.mark.usefixtures("asked")
def test_the_api_learns_who_asks_and_how(proxy: Proxy) -> None:
    answer, seen = proxy.ask(
        "GET", "/v1/models?a=%2F", X_Forwarded_For="9.9.9.9", X_Request_ID="mine-1"
    )

    assert answer.status == 200
    assert seen["path"] == "/v1/models?a=%2F"
    assert seen["headers"]["Host"] == f"127.0.0.1:{proxy.port}"
    assert seen["headers"]["X-Forwarded-For"] == "9.9.9.9, 127.0.0.1"
    assert seen["headers"]["X-Forwarded-Proto"] == "http"
    assert seen["headers"]["X-Request-ID"] == "mine-1"


@pytest.mark.usefixtures("asked")
@pytest.mark.parametrize("given", ["", 'a"b', "x" * 129])
def test_a_request_id_that_is_of_no_use_is_replaced(proxy: Proxy, given: str) -> None:
    _, seen = proxy.ask("GET", "/", X_Request_ID=given)

    assert len(seen["headers"]["X-Request-ID"]) == 32


@pytest.mark.parametrize("path", ["/metrics", "//metrics", "/%6Detrics", "/metrics?a"])
def test_metrics_are_hidden(proxy: Proxy, asked: list[str], path: str) -> None:
    answer, problem = proxy.ask("GET", path)

    assert (answer.status, problem["code"]) == (404, "not_found")
    assert asked == []


def test_only_uploads_may_be_large(proxy: Proxy, asked: list[str]) -> None:
    large = bytes(2 * FORM_BYTES)
    answer, problem = proxy.ask("POST", "/v1/predict", large)
    taken, seen = proxy.ask("POST", "/v1/jobs", large)

    assert answer.getheader("Content-Type") == "application/problem+json"
    assert (answer.status, problem["code"]) == (413, "too_large")
    assert (taken.status, seen["bytes"]) == (200, len(large))
    assert asked == ["/v1/jobs"]


def test_a_slow_client_waits_at_the_proxy(proxy: Proxy, asked: list[str]) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    with socket.create_connection((FIRST, proxy.port), 20) as slow:
        slow.sendall(head + b"ab")
        proxy.ask("GET", "/livez")
        before = list(asked)
        slow.sendall(b"cd")
        answer = slow.recv(65536)

    assert before == ["/livez"]
    assert answer.startswith(b"HTTP/1.1 200")


HEAD = b"POST /v1/predict HTTP/1.1\r\nHost: localhost\r\nContent-Type: image/png\r\n"
SLOW = {
    "silent": b"",
    "half a head": HEAD,
    "half a body": HEAD + b"Content-Length: 5000\r\n\r\n" + bytes(2500),
    "answer not read": 3 * b"GET /openapi.json HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "answer not hung up": b"GET /livez HTTP/1.0\r\n\r\n",
}


def test_slow_clients_hold_no_thread_of_the_api(tmp_path: Path) -> None:
    """Twenty of each kind at a time, and the API has four threads."""
    with ExitStack() as stack:
        served = stack.enter_context(ServedModel())
        limits = {"WEB_WORKERS": "1", "WEB_THREADS": "4"}
        api = ApiProcess(tmp_path, served.target, **limits)
        stack.enter_context(api.running())
        port = {"REPLICAS_PORT": str(api.port)}
        proxy = stack.enter_context(running_proxy(tmp_path, FIRST, **limits, **port))
        for sent in SLOW.values():
            for _ in range(20):
                client = socket.create_connection((FIRST, proxy.port), 20)
                stack.enter_context(client).sendall(sent)
            # What they ask may be too much at once, but they wait for nobody.
            wait_until(lambda: _predicts(proxy), "a prediction", 10)
            statuses = {proxy.ask("GET", "/livez")[0].status for _ in range(8)}

            assert (statuses, _predicts(proxy)) == ({200}, True)


def _predicts(proxy: Proxy) -> bool:
    kind = {"Content_Type": "image/png"}
    return proxy.ask("POST", "/v1/predict", grey(9), **kind)[0].status == 200


def test_replica_gets_no_more_requests_than_it_has_threads(tmp_path: Path) -> None:
    one_thread = {"WEB_WORKERS": "1", "WEB_THREADS": "1"}
    with (
        running_proxy(tmp_path, FIRST, **one_thread) as proxy,
        replica(FIRST, proxy.api_port, BusyReplica) as asked,
        ThreadPoolExecutor(1) as pool,
    ):
        first = pool.submit(proxy.ask, "POST", "/v1/predict", b"x")
        assert BusyReplica.came.wait(20)
        answer, problem = proxy.ask("POST", "/v1/predict", b"x")
        BusyReplica.go_on.set()

        assert first.result()[0].status == 200
    assert (answer.status, problem["code"]) == (503, "overloaded")
    assert answer.getheader("Retry-After") == "2"
    assert asked == ["/v1/predict"]


def test_without_any_replica_it_says_when_to_come_back(proxy: Proxy) -> None:
    answer, problem = proxy.ask("POST", "/v1/predict?a=1", b"x", X_Request_ID="mine-2")

    assert answer.status == problem["status"] == 503
    assert answer.getheader("Retry-After") == "2"
    assert answer.getheader("X-Request-ID") == problem["request_id"] == "mine-2"
    assert problem["code"] == "api_unavailable"
    assert problem["instance"] == "/v1/predict"


@pytest.mark.parametrize(
    ("listed", "origin", "allowed"),
    [
        ("", "https://app.example.com", None),
        (
            "https://app.example.com",
            "https://app.example.com",
            "https://app.example.com",
        ),
        ("https://app.example.com", "https://evil.example", None),
        ("http://a:1, http://[::1]:3000", "http://[::1]:3000", "http://[::1]:3000"),
        ("*", "https://any.example", "*"),
        ('https://a" "1"; } #', "https://a", None),
    ],
)
def test_pages_that_the_api_answers_may_read_its_problems(
    tmp_path: Path, listed: str, origin: str, allowed: str | None
) -> None:
    with running_proxy(tmp_path, FIRST, CORS_ORIGINS=listed) as proxy:
        answers = [
            proxy.ask("GET", path, Origin=origin)[0]
            for path in ("/v1/jobs", "/metrics")
        ]

    assert [each.status for each in answers] == [503, 404]
    for answer in answers:
        assert answer.getheader("Access-Control-Allow-Origin") == allowed
        assert answer.getheader("Vary") == ("Origin" if allowed else None)


@pytest.mark.parametrize(
    ("request_text", "status"),
    [
        ("GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
        ("GET /\"'<\\ HTTP/1.1\r\n\r\n", 400),
        (f"GET /{'a' * 9000} HTTP/1.1\r\nHost: a\r\n\r\n", 414),
        (f"GET / HTTP/1.1\r\nHost: a\r\nX: {'a' * 9000}\r\n\r\n", 431),
    ],
)
def test_what_cannot_be_read_is_explained_too(
    proxy: Proxy, request_text: str, status: int
) -> None:
    answer = proxy.ask_raw(request_text.encode())
    head, _, body = answer.partition(b"\r\n\r\n")

    assert head.startswith(f"HTTP/1.1 {status}".encode())
    assert b"application/problem+json" in head
    assert json.loads(body)["status"] == status


def test_one_address_has_so_many_requests_at_once(tmp_path: Path) -> None:
    head = b"POST /v1/predict HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\n\r\n"
    limit = {"PROXY_CONNECTIONS_PER_ADDRESS": "1"}
    with (
        running_proxy(tmp_path, FIRST, **limit) as proxy,
        replica(FIRST, proxy.api_port),
        socket.create_connection((FIRST, proxy.port), 20) as first,
    ):
        assert proxy.ask("GET", "/")[0].status == 200
        first.sendall(head)
        wait_until(lambda: proxy.ask("GET", "/")[0].status == 429, "it is refused")
        answer, problem = proxy.ask("GET", "/")

    assert (answer.getheader("Retry-After"), problem["code"]) == ("1", "rate_limited")


def test_a_prediction_goes_to_another_replica_when_one_dies(tmp_path: Path) -> None:
    with (
        running_proxy(tmp_path, FIRST, SECOND) as proxy,
        replica(FIRST, proxy.api_port, BreakingReplica) as broken,
        replica(SECOND, proxy.api_port) as sound,
    ):
        for path in ("/v1/predict", "/v1/models/pets:predict", "/v2/models/pets/infer"):
            statuses = {proxy.ask("POST", path, b"x")[0].status for _ in range(10)}
            assert statuses == {200}
        wait_until(lambda: broken, "the broken one was asked")

    assert len(sound) == 30


def test_a_submission_is_not_sent_twice(tmp_path: Path) -> None:
    statuses: list[int] = []
    with (
        running_proxy(tmp_path, FIRST, SECOND) as proxy,
        replica(FIRST, proxy.api_port, BreakingReplica) as broken,
        replica(SECOND, proxy.api_port) as sound,
    ):
        while 503 not in statuses:
            statuses.append(proxy.ask("POST", "/v1/jobs", b"{}")[0].status)

    assert len(broken) + len(sound) == len(statuses) < 5


def test_new_replicas_are_found(proxy: Proxy, asked: list[str]) -> None:
    proxy.ask("GET", "/")
    with replica(SECOND, proxy.api_port) as newer:
        proxy.list_replicas(SECOND)
        wait_until(lambda: proxy.ask("GET", "/new") and newer, "the new one is asked")

    assert "/" in asked


def test_replicas_stay_known_while_names_cannot_be_looked_up(
    proxy: Proxy, asked: list[str]
) -> None:
    proxy.ask("GET", "/")
    proxy.list_replicas()
    wait_until((proxy.folder / "run/replicas.new").exists, "it has looked again")

    assert proxy.ask("GET", "/later")[0].status == 200
    assert asked == ["/", "/later"]


def test_the_log_is_json(proxy: Proxy) -> None:
    proxy.ask("GET", '/a"b?secret=1', X_Request_ID="mine-3")
    # nginx writes the line after its answer.
    wait_until(lambda: "mine-3" in proxy.log.read_text(), "the line is written")
    lines = [line for line in proxy.log.read_text().splitlines() if line[0] == "{"]
    entry = json.loads(lines[-1])

    assert entry["request_id"] == "mine-3"
    assert entry["path"] == "/a"
    assert (entry["status"], entry["client"]) == (503, FIRST)


def test_with_a_certificate_everyone_is_sent_to_https(tmp_path: Path) -> None:
    certificate = _certificate(tmp_path)
    with (
        running_proxy(tmp_path, FIRST, TLS_FOLDER=str(tmp_path)) as proxy,
        replica(FIRST, proxy.api_port),
    ):
        answer, _ = proxy.ask("GET", "/.alive")
        sent = proxy.ask_raw(
            b"GET /a?b HTTP/1.1\r\nHost: k:1\r\nConnection: close\r\n\r\n"
        )
        trusted = ssl.create_default_context(cafile=str(certificate))
        connection = HTTPSConnection("localhost", proxy.tls_port, context=trusted)
        connection.request("GET", "/")
        secure = connection.getresponse()
        seen = json.load(secure)
        connection.close()

    assert answer.status == 204
    assert f"Location: https://k:{proxy.tls_port}/a?b".encode() in sent
    assert secure.getheader("Strict-Transport-Security")
    assert seen["headers"]["X-Forwarded-Proto"] == "https"


def _certificate(folder: Path) -> Path:
    certificate = folder / "fullchain.pem"
    command = (
        "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    files = ["-keyout", str(folder / "privkey.pem"), "-out", str(certificate)]
    subprocess.run([*command.split(), *files], check=True, capture_output=True)
    return certificate

"""The concurrency limit: excess requests are refused with Retry-After."""

from __future__ import annotations

import http.client
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from dataclasses import replace
from typing import TYPE_CHECKING

import pytest
from flask.testing import FlaskClient
from werkzeug.test import EnvironBuilder

from models.wire.client import ModelServerClient
from service.http.errors import OverloadedError
from service.server.load_shedding import ConcurrencyLimit
from service.settings import ServiceSettings
from tests.pictures import grey, noise
from tests.processes import wait_until
from tests.service.api_process import ApiProcess
from tests.service.conftest import app_of, post_image, post_images
from tests.service.served_model import ServedModel

if TYPE_CHECKING:
    from _typeshed.wsgi import StartResponse, WSGIEnvironment


MEBIBYTE = 1024 * 1024
IMAGE = {"Content-Type": "image/jpeg"}


@contextmanager
def in_work(client: FlaskClient, served: ServedModel, count: int) -> Iterator[None]:
    """While *count* requests wait for a slow model server."""
    go_on = threading.Event()
    served.before_answer = lambda: go_on.wait(20)
    depth = f'inference_queue_depth{{model="pets"}} {float(count)}\n'
    with ThreadPoolExecutor(count) as pool:
        answers = [pool.submit(post_image, client, grey(9)) for _ in range(count)]
        wait_until(lambda: depth in client.get("/metrics").text, "all are in work")
        try:
            yield
        finally:
            served.before_answer = None
            go_on.set()
    assert {answer.result().status_code for answer in answers} == {200}


@pytest.fixture
def small_client(
    settings: ServiceSettings, model_client: ModelServerClient
) -> FlaskClient:
    """Of a process with 10 threads: 8 predict at a time."""
    small = replace(settings, web_threads=10)
    return app_of(small, model_client).test_client()


def test_prediction_too_many_is_refused_and_the_rest_answered(
    small_client: FlaskClient, served: ServedModel
) -> None:
    with in_work(small_client, served, 8):
        refused = post_image(small_client, grey(9))
        others = [
            small_client.get(path).status_code
            for path in ("/livez", "/readyz", "/v1/models")
        ]

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert int(refused.headers["Retry-After"]) >= 1
    assert others == [200, 200, 200]
    assert post_image(small_client, grey(9)).status_code == 200


def test_wait_beyond_the_budget_is_refused_at_once(
    small_client: FlaskClient, served: ServedModel
) -> None:
    served.delay_seconds = 0.2
    post_image(small_client, grey(9))
    served.delay_seconds = 0.0

    with in_work(small_client, served, 1):
        response = post_images(
            small_client, [grey(9)] * 40, headers={"X-Request-Timeout-Ms": "2000"}
        )

    assert (response.status_code, response.get_json()["code"]) == (503, "overloaded")
    assert "in work" in response.get_json()["detail"]


def test_idle_process_lets_anything_in(
    small_client: FlaskClient, served: ServedModel
) -> None:
    served.delay_seconds = 0.2
    post_image(small_client, grey(9))
    served.delay_seconds = 0.0

    headers = {"X-Request-Timeout-Ms": "2000"}
    assert post_images(small_client, [grey(9)] * 40, headers=headers).status_code == 200


@pytest.fixture(scope="module")
def small_api(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[ServedModel, int]]:
    """A model, and the port of gunicorn with one small worker in front of it."""
    folder = tmp_path_factory.mktemp("api")
    with ServedModel() as model:
        api = ApiProcess(folder, model.target, WEB_WORKERS="1", WEB_THREADS="10")
        with api.running():
            yield model, api.port


@contextmanager
def connected(port: int) -> Iterator[Callable[..., tuple[int, str | None]]]:
    """Ask again and again over one connection: status and Retry-After."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)

    def ask(method: str, path: str, body: bytes = b"") -> tuple[int, str | None]:
        connection.request(method, path, body, IMAGE)
        response = connection.getresponse()
        response.read()
        return response.status, response.headers["Retry-After"]

    with closing(connection):
        yield ask


def test_overloaded_process_answers_everybody(
    small_api: tuple[ServedModel, int],
) -> None:
    served, port = small_api
    photo = noise(1, size=(500, 375))
    served.delay_seconds = 0.1

    def send(_: int) -> list[tuple[int, str | None]]:
        with connected(port) as ask:
            return [ask("POST", "/v1/predict", photo) for _ in range(10)]

    with ThreadPoolExecutor(41) as pool:
        clients = [pool.submit(send, number) for number in range(40)]
        with connected(port) as watch:
            watched = [watch("GET", path)[0] for path in ("/livez", "/readyz") * 5]
    answers = [each for client in clients for each in client.result()]

    statuses = Counter(status for status, _ in answers)
    assert set(statuses) == {200, 503}
    assert statuses[200] >= 8
    assert all(after for status, after in answers if status == 503)
    assert set(watched) == {200}


def test_connection_outlives_a_refused_large_photo(
    small_api: tuple[ServedModel, int],
) -> None:
    _, port = small_api
    large = bytes(5_000_000)

    with connected(port) as ask:
        statuses = [ask("POST", "/v1/predict?colour=red", large)[0] for _ in range(5)]
        statuses.append(ask("POST", "/v1/predict", noise(1))[0])

    assert statuses == [422] * 5 + [200]


@pytest.fixture
def body_client(
    settings: ServiceSettings, model_client: ModelServerClient
) -> FlaskClient:
    """Of a process that has 4 MiB of bodies at a time, above the first of each."""
    settings = replace(settings, max_request_bytes=2 * MEBIBYTE)
    return app_of(settings, model_client).test_client()


def test_bodies_in_memory_are_bounded_together(
    body_client: FlaskClient, served: ServedModel
) -> None:
    large = noise(1) + bytes(3 * MEBIBYTE // 2)
    post_image(body_client, grey(9))
    go_on = threading.Event()
    served.before_answer = lambda: go_on.wait(20)
    depth = 'inference_queue_depth{model="pets"} 7.0\n'
    with ThreadPoolExecutor(8) as pool:
        held = [pool.submit(post_image, body_client, large) for _ in range(7)]
        wait_until(lambda: depth in body_client.get("/metrics").text, "all are in work")
        refused = post_image(body_client, large)
        small = pool.submit(post_image, body_client, grey(9))
        go_on.set()

    assert (refused.status_code, refused.get_json()["code"]) == (503, "overloaded")
    assert "4 MiB" in refused.get_json()["detail"]
    assert int(refused.headers["Retry-After"]) >= 1
    assert small.result().status_code == 200
    assert [each.result().status_code for each in held] == 7 * [200]
    assert post_image(body_client, large).status_code == 200


def test_announced_bytes_take_no_room_until_they_come() -> None:
    waits, go_on = threading.Event(), threading.Event()

    class Slow(io.BytesIO):
        def read(self, size: int | None = -1) -> bytes:
            waits.set()
            go_on.wait(20)
            return super().read(size)

    def application(environ: WSGIEnvironment, _: StartResponse) -> list[bytes]:
        return [environ["wsgi.input"].read(), environ["wsgi.input"].read()]

    limit = ConcurrencyLimit(application, 10, lambda: 1.0, 2 * MEBIBYTE)
    quick, slow = io.BytesIO(bytes(2 * MEBIBYTE)), Slow(bytes(2 * MEBIBYTE))
    with ThreadPoolExecutor() as pool:
        held = pool.submit(limit, posted(slow), ignore)
        waits.wait(20)
        first, _ = limit(posted(quick), ignore)
        go_on.set()

    assert len(first) == 2 * MEBIBYTE
    assert held.result() == [first, b""]


def test_body_that_outgrows_the_memory_is_broken_off() -> None:
    pieces: list[bytes] = []

    def application(environ: WSGIEnvironment, _: StartResponse) -> list[bytes]:
        while piece := environ["wsgi.input"].read(MEBIBYTE):
            pieces.append(piece)
        return []

    limit = ConcurrencyLimit(application, 10, lambda: 1.0, 2 * MEBIBYTE)
    for _ in range(2):
        pieces.clear()
        with pytest.raises(OverloadedError, match="2 MiB"):
            limit(posted(io.BytesIO(bytes(9 * MEBIBYTE))), ignore)
        assert len(pieces) == 3


def ignore(*_: object) -> Callable[[bytes], object]:
    """A `start_response` that nobody looks at."""
    return len


def posted(body: io.BytesIO) -> WSGIEnvironment:
    """A POST whose *body* says nothing of its length."""
    environ = EnvironBuilder("/v1/predict", method="POST").get_environ()
    return {**environ, "wsgi.input": body}

"""What a request brought is gone with it: nothing waits for the garbage collector."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Iterator
from dataclasses import replace

import grpc
import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.pictures import noise
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

PHOTO = noise(1)
MEBIBYTE = 1024 * 1024
BAD = bytes(2 * MEBIBYTE)

CASES = {
    "no image": ("/v1/predict", "image/png", BAD, 422),
    "half a photo": (
        "/v1/predict",
        "image/png",
        noise(1, (2000, 2000))[: 2 * MEBIBYTE],
        422,
    ),
    "photo": ("/v1/predict", "image/png", PHOTO + BAD, 200),
    "explained photo": ("/v1/explain", "image/png", PHOTO + BAD, 200),
    "nothing to explain": ("/v1/explain", "image/png", BAD, 422),
    "no JSON": ("/v1/predict", "application/json", b'{"images":["' + BAD, 400),
    "no base64": (
        "/v1/predict",
        "application/json",
        b'{"images":["' + b"!" * MEBIBYTE + b'"]}',
        422,
    ),
    "instances": (
        "/v1/models/pets:predict",
        "application/json",
        b'{"instances":[{"b64":"' + b"AAAA" * MEBIBYTE + b'"}]}',
        422,
    ),
}


@pytest.fixture
def roomy_client(
    settings: ServiceSettings, model_client: ModelServerClient
) -> FlaskClient:
    roomy = replace(settings, max_request_bytes=16 * MEBIBYTE)
    queue = JobQueue(roomy.redis_url, roomy.runs_dir, roomy.input_root)
    return create_app(roomy, model_client, queue).test_client()


@pytest.fixture
def uncollected() -> Iterator[None]:
    """No cycles are collected, and allocations are counted."""
    gc.collect()
    gc.disable()
    tracemalloc.start()
    yield
    tracemalloc.stop()
    gc.enable()


@pytest.mark.parametrize("case", CASES)
@pytest.mark.usefixtures("uncollected")
def test_images_are_gone_with_their_answer(
    roomy_client: FlaskClient, case: str
) -> None:
    path, kind, body, status = CASES[case]

    def post() -> int:
        response = post_image(roomy_client, body, path=path, content_type=kind)
        return response.status_code

    post()
    before, _ = tracemalloc.get_traced_memory()
    statuses = [post() for _ in range(4)]
    after, _ = tracemalloc.get_traced_memory()

    assert statuses == 4 * [status]
    assert after - before < MEBIBYTE // 2


@pytest.mark.usefixtures("uncollected")
def test_images_are_gone_when_the_model_server_fails(
    roomy_client: FlaskClient, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    # Kept records would keep the errors.
    caplog.set_level(logging.ERROR, "service.problems")
    large = PHOTO + BAD
    post_image(roomy_client, large)
    served.failing = {1: grpc.StatusCode.UNAVAILABLE}
    post_image(roomy_client, large)
    before, _ = tracemalloc.get_traced_memory()
    statuses = [post_image(roomy_client, large).status_code for _ in range(4)]
    after, _ = tracemalloc.get_traced_memory()

    assert statuses == 4 * [503]
    assert after - before < MEBIBYTE // 2

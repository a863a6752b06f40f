"""What a request brought is gone with it: nothing waits for the garbage collector."""

from __future__ import annotations

import gc
import logging
import tracemalloc
from collections.abc import Callable
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


def grown_by(work: Callable[[], object]) -> int:
    """Bytes that are in use after *work* and were not before; cycles are not collected."""
    work()
    # pytest keeps what is logged, and with it the errors.
    logging.disable(logging.CRITICAL)
    gc.collect()
    gc.disable()
    tracemalloc.start()
    try:
        work()
        before, _ = tracemalloc.get_traced_memory()
        for _ in range(3):
            work()
        after, _ = tracemalloc.get_traced_memory()
        return after - before
    finally:
        tracemalloc.stop()
        gc.enable()
        logging.disable(logging.NOTSET)


@pytest.mark.parametrize("case", CASES)
def test_images_are_gone_with_their_answer(
    roomy_client: FlaskClient, case: str
) -> None:
    path, kind, body, status = CASES[case]
    statuses: list[int] = []

    def post() -> None:
        response = post_image(roomy_client, body, path=path, content_type=kind)
        statuses.append(response.status_code)

    assert grown_by(post) < MEBIBYTE // 2
    assert set(statuses) == {status}


def test_images_are_gone_when_the_model_server_fails(
    roomy_client: FlaskClient, served: ServedModel
) -> None:
    post_image(roomy_client, PHOTO)
    served.failing = {1: grpc.StatusCode.UNAVAILABLE}
    statuses: list[int] = []
    large = PHOTO + BAD

    def post() -> None:
        statuses.append(post_image(roomy_client, large).status_code)

    assert grown_by(post) < MEBIBYTE // 2
    assert set(statuses) == {503}

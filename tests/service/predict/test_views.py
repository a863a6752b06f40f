"""POST /v1/predict: the right answer for each image, and reasons for refusals."""

from __future__ import annotations

import gc
import io
import logging
import tracemalloc
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import numpy as np
import pytest
from flask.testing import FlaskClient
from PIL import Image

from export.data.cache import PixelSource, cached_pixels
from export.progress import silent
from models.images.codec import Pixels, decode_image
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef, Prediction
from service.settings import ServiceSettings
from tests.fake_model_server import CARD, brightness_probabilities
from tests.models.images.handmade import png
from tests.models.images.test_codec import ROWS
from tests.pictures import encoded, grey, noise
from tests.service.conftest import app_of, post_image, post_images
from tests.service.served_model import ServedModel
from worker.request import JobRequest
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos

LEVELS = [(number * 37) % 256 for number in range(64)]


def test_answer_has_the_documented_form(shared_client: FlaskClient) -> None:
    answer = post_images(shared_client, [grey(51)]).get_json()

    assert answer == {
        "model": "pets",
        "version": 1,
        "labels": ["cat", "dog"],
        "predictions": [
            {
                "name": "0.png",
                "label": "cat",
                "probabilities": {"cat": 0.8, "dog": 0.2},
                "raw": {"cat": 0.8, "dog": 0.2},
            }
        ],
    }


def test_raw_body_has_no_name(shared_client: FlaskClient) -> None:
    answer = post_image(shared_client, grey(255)).get_json()

    assert answer["predictions"][0]["name"] is None
    assert answer["predictions"][0]["label"] == "dog"


def test_octet_stream_is_an_image_too(shared_client: FlaskClient) -> None:
    response = post_image(
        shared_client, grey(9), content_type="application/octet-stream"
    )

    assert response.status_code == 200


def test_sixty_four_images_keep_their_order(shared_client: FlaskClient) -> None:
    answer = post_images(shared_client, [grey(level) for level in LEVELS]).get_json()

    names = [each["name"] for each in answer["predictions"]]
    dogs = [each["raw"]["dog"] for each in answer["predictions"]]
    assert names == [f"{number}.png" for number in range(64)]
    assert dogs == pytest.approx([level / 255 for level in LEVELS], abs=1e-6)


def test_good_images_beside_bad_ones_are_answered(shared_client: FlaskClient) -> None:
    images = [grey(255), b"hello", grey(0), b"", grey(102)]

    response = post_images(shared_client, images)

    entries = response.get_json()["predictions"]
    assert response.status_code == 200
    assert [each.get("label") for each in entries] == ["dog", None, "cat", None, "cat"]
    assert [entries[k]["error"]["code"] for k in (1, 3)] == [
        "unsupported_image",
        "empty_image",
    ]
    assert entries[1]["name"] == "1.png"


def test_steady_state_costs_one_call(client: FlaskClient, served: ServedModel) -> None:
    post_image(client, grey(1))
    served.calls.clear()

    post_image(client, grey(2))
    post_images(client, [grey(3), grey(4)], "?version=1")

    assert served.calls == ["serving_default", "serving_default"]


@pytest.mark.parametrize(
    ("query", "dog"),
    [
        ("", 0.95),
        ("?clip=0.8", 0.8),
        ("?clip=off", 1.0),
        ("?clip=1", 1.0),
    ],
)
def test_clip_bounds_probabilities_not_raw(
    shared_client: FlaskClient, query: str, dog: float
) -> None:
    entry = post_image(shared_client, grey(255), query).get_json()["predictions"][0]

    assert entry["probabilities"] == {"cat": pytest.approx(1 - dog), "dog": dog}
    assert entry["raw"] == {"cat": 0.0, "dog": 1.0}


def test_top_gives_the_likeliest_labels_only(shared_client: FlaskClient) -> None:
    entry = post_image(shared_client, grey(204), "?top=1").get_json()["predictions"][0]

    assert entry["probabilities"] == {"dog": 0.8}
    assert entry["raw"] == {"dog": 0.8}


def test_version_label_chooses_the_version(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (1, 2)
    served.version_labels = {"canary": 1}

    response = post_image(client, grey(9), "?label=canary")

    assert response.get_json()["version"] == 1
    assert post_image(client, grey(9)).get_json()["version"] == 2


def test_prediction_headers(shared_client: FlaskClient) -> None:
    headers = post_image(
        shared_client, grey(9), headers={"X-Request-ID": "photo-7"}
    ).headers

    assert headers["X-Model-Name"] == "pets"
    assert headers["X-Model-Version"] == "1"
    assert headers["X-Request-ID"] == "photo-7"
    assert headers["Cache-Control"] == "no-store"
    assert headers["X-Content-Type-Options"] == "nosniff"
    assert [part.split(";")[0] for part in headers["Server-Timing"].split(", ")] == [
        "decode",
        "queue",
        "infer",
    ]


def test_malformed_request_id_is_replaced(shared_client: FlaskClient) -> None:
    response = shared_client.get("/livez", headers={"X-Request-ID": "a b"})

    assert response.headers["X-Request-ID"].isalnum()


def test_large_files_are_spooled_and_answered(shared_client: FlaskClient) -> None:
    large = grey(255, size=(500, 400), kind="BMP")
    assert len(large) > 500_000

    response = post_images(shared_client, [large])

    assert response.get_json()["predictions"][0]["label"] == "dog"


BAD_IMAGES: dict[str, tuple[Callable[[], bytes], int, str]] = {
    "text": (lambda: b"hello, world", 422, "unsupported_image"),
    "empty": (lambda: b"", 422, "empty_image"),
    "truncated JPEG": (lambda: noise(1)[:-400], 422, "undecodable_image"),
    "palette PNG without palette": (
        lambda: png(b"\0", 8, 3),
        422,
        "undecodable_image",
    ),
    "EPS": (lambda: b"%!PS-Adobe-3.0 EPSF-3.0\n", 422, "unsupported_image"),
    "100 megapixels": (
        lambda: encoded(Image.new("1", (10_000, 10_000))),
        413,
        "too_many_pixels",
    ),
}


@pytest.mark.parametrize("case", BAD_IMAGES)
@pytest.mark.parametrize("raw", [True, False], ids=["raw", "multipart"])
def test_bad_image_is_refused(shared_client: FlaskClient, case: str, raw: bool) -> None:
    make, status, code = BAD_IMAGES[case]
    image = make()

    response = (
        post_image(shared_client, image) if raw else post_images(shared_client, [image])
    )

    problem = response.get_json()
    assert response.content_type == "application/problem+json"
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["errors"] == [
        {
            "index": 0,
            "name": None if raw else "0.png",
            "code": code,
            "detail": problem["detail"],
        }
    ]


def test_all_images_bad_lists_each(shared_client: FlaskClient) -> None:
    response = post_images(shared_client, [b"", b"hello", noise(1)[:-400]])

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (422, "undecodable_image")
    assert [
        (each["index"], each["name"], each["code"]) for each in problem["errors"]
    ] == [
        (0, "0.png", "empty_image"),
        (1, "1.png", "unsupported_image"),
        (2, "2.png", "undecodable_image"),
    ]


QUERIES = {
    "?colour=red": (422, "invalid_parameter", "colour"),
    "?clip=much": (422, "invalid_parameter", "clip"),
    "?clip=0.5": (422, "invalid_parameter", "clip"),
    "?clip=nan": (422, "invalid_parameter", "clip"),
    "?clip=1.01": (422, "invalid_parameter", "clip"),
    "?top=0": (422, "invalid_parameter", "top"),
    "?top=3": (422, "invalid_parameter", "top"),
    "?top=1.5": (422, "invalid_parameter", "top"),
    "?version=0": (422, "invalid_parameter", "version"),
    "?version=-1": (422, "invalid_parameter", "version"),
    "?version=new": (422, "invalid_parameter", "version"),
    "?version=99999999999999999999": (422, "invalid_parameter", "version"),
    "?version=1&label=a": (422, "invalid_parameter", "label"),
    "?label=%20": (422, "invalid_parameter", "label"),
    "?clip=0.9&clip=0.8": (422, "invalid_parameter", "clip"),
    "?model=cows": (404, "model_not_found", "cows"),
    "?model=": (404, "model_not_found", ""),
    "?version=7": (404, "version_not_found", "7"),
    "?label=canary": (404, "label_not_found", "canary"),
}


@pytest.mark.parametrize("query", QUERIES)
def test_query_is_refused(shared_client: FlaskClient, query: str) -> None:
    status, code, named = QUERIES[query]

    response = post_image(shared_client, grey(9), query)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert named in problem["detail"]


Send = Callable[[FlaskClient], Any]

REQUESTS: dict[str, tuple[Send, int, str]] = {
    "no body": (lambda c: c.post("/v1/predict"), 400, "no_image"),
    "no image field": (
        lambda c: c.post("/v1/predict", data={"file": (io.BytesIO(b"x"), "a.png")}),
        400,
        "no_image",
    ),
    "image field is text": (
        lambda c: c.post(
            "/v1/predict", data={"image": "a"}, content_type="multipart/form-data"
        ),
        400,
        "no_image",
    ),
    "a second, unknown field": (
        lambda c: c.post(
            "/v1/predict",
            data={"image": (io.BytesIO(grey(9)), "a.png"), "clip": "0.9"},
        ),
        422,
        "invalid_parameter",
    ),
    "65 images": (lambda c: post_images(c, [b"x"] * 65), 413, "too_many_images"),
    "200 images": (lambda c: post_images(c, [b"x"] * 200), 413, "too_large"),
    "oversize raw body": (lambda c: post_image(c, bytes(2**20 + 1)), 413, "too_large"),
    "oversize form": (lambda c: post_images(c, [bytes(2**20)]), 413, "too_large"),
    "XML": (
        lambda c: c.post("/v1/predict", data="<a/>", content_type="text/xml"),
        415,
        "unsupported_media_type",
    ),
    "no content type": (
        lambda c: c.post("/v1/predict", data=grey(9)),
        415,
        "unsupported_media_type",
    ),
    "unknown path": (lambda c: c.get("/v1/nothing"), 404, "not_found"),
    "GET": (lambda c: c.get("/v1/predict"), 405, "method_not_allowed"),
    "timeout is no number": (
        lambda c: post_image(c, grey(9), headers={"X-Request-Timeout-Ms": "1e3"}),
        422,
        "invalid_parameter",
    ),
}


@pytest.mark.parametrize("case", REQUESTS)
def test_request_is_refused(shared_client: FlaskClient, case: str) -> None:
    send, status, code = REQUESTS[case]

    response = send(shared_client)

    problem = response.get_json()
    assert response.content_type == "application/problem+json"
    assert (response.status_code, problem["code"]) == (status, code)
    assert problem["status"] == status
    assert problem["request_id"] == response.headers["X-Request-ID"]


def test_method_not_allowed_says_what_is(shared_client: FlaskClient) -> None:
    assert "POST" in shared_client.get("/v1/predict").headers["Allow"]


def test_too_many_images_in_flight_are_turned_away(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    small = replace(settings, max_in_flight=2)
    client = app_of(small, model_client).test_client()

    response = post_images(client, [grey(9)] * 3)

    assert (response.status_code, response.get_json()["code"]) == (503, "overloaded")
    assert int(response.headers["Retry-After"]) > 0
    assert post_images(client, [grey(9)] * 2).status_code == 200


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
    return app_of(roomy, model_client).test_client()


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


FILES = [image for image, _, _ in ROWS.values()]
PIXELS = np.stack([decode_image(image, CARD.image_size) for image in FILES])
DOGS = brightness_probabilities(PIXELS, 2)[:, 1]


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "photos"
    folder.mkdir()
    paths = [folder / f"{number}.jpg" for number in range(len(FILES))]
    for path, image in zip(paths, FILES, strict=True):
        path.write_bytes(image)
    return paths


def test_api_sees_the_tables_pixels(shared_client: FlaskClient) -> None:
    answer = post_images(shared_client, FILES).get_json()

    dogs = [each["raw"]["dog"] for each in answer["predictions"]]
    assert dogs == pytest.approx(DOGS, abs=1e-7)


def test_worker_sees_the_tables_pixels(
    files: list[Path], model_client: ModelServerClient
) -> None:
    request = JobRequest("pets", 1, CARD.labels, CARD.image_size, "photos")

    def ask(batch: Pixels, model: ModelRef) -> Prediction:
        return model_client.predict(batch, model)

    folder = files[0].parent
    photos = LocalFolder(folder, "photos")
    items = list_photos(photos).items
    rows = predict_items(photos, items, request, ask)

    assert [row.probabilities[1] for row in rows] == pytest.approx(DOGS, abs=1e-7)


def test_training_sees_the_tables_pixels(files: list[Path], tmp_path: Path) -> None:
    hashes = [path.name for path in files]
    source = PixelSource("train", files, hashes, CARD.image_size)

    array = cached_pixels(source, tmp_path / "cache", silent)

    batches = [batch for _, batch in array.batches(64)]
    assert (np.concatenate(batches) == PIXELS).all()

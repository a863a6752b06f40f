"""Compressed bodies are decoded within the limits, on every route that reads one."""

from __future__ import annotations

import base64
import gzip
import io
import json
import zlib
from collections.abc import Callable, Iterator
from itertools import repeat

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.served_model import ServedModel
from tests.worker.packing import tarred, zipped

PHOTO = grey(9)
TEXT = base64.b64encode(PHOTO).decode()
TENSOR = {"name": "images", "datatype": "BYTES", "shape": [1]}


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-15)
    return packer.compress(data) + packer.flush()


CODINGS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress,
    "GZip": gzip.compress,
    "x-gzip": gzip.compress,
    "gzip, identity": gzip.compress,
    "deflate": zlib.compress,
    "Deflate": raw_deflate,
    "identity": bytes,
    "": bytes,
}


def send(
    client: FlaskClient,
    body: bytes,
    coding: str = "gzip",
    kind: str = "image/png",
    path: str = "/v1/predict",
    **headers: str,
) -> TestResponse:
    given = {"Content-Encoding": coding, "Content-Type": kind, **headers}
    return client.post(path, data=body, headers=given)


@pytest.mark.parametrize("coding", CODINGS)
def test_photo_is_decoded(shared_client: FlaskClient, coding: str) -> None:
    response = send(shared_client, CODINGS[coding](PHOTO), coding)

    assert response.status_code == 200, response.text


def test_members_of_gzip_follow_each_other(shared_client: FlaskClient) -> None:
    body = gzip.compress(PHOTO[:100]) + gzip.compress(PHOTO[100:])

    assert send(shared_client, body).status_code == 200


def forms() -> Iterator[tuple[str, str, bytes, dict[str, str]]]:
    boundary, form = encode_multipart(
        {"image": FileStorage(io.BytesIO(PHOTO), "a.png")}
    )
    multipart = f"multipart/form-data; boundary={boundary}"
    images = json.dumps({"images": [TEXT]}).encode()
    for path in ("/v1/predict", "/v1/explain"):
        yield path, "image/png", PHOTO, {}
        yield path, multipart, form, {}
        yield path, "application/json", images, {}
    instances = json.dumps({"instances": [{"b64": TEXT}]}).encode()
    yield "/v1/models/pets:predict", "application/json", instances, {}
    infer = json.dumps({"inputs": [{**TENSOR, "data": [TEXT]}]}).encode()
    yield "/v2/models/pets/infer", "application/json", infer, {}
    # As tritonclient sends it: the length is that of the JSON before compression.
    packed = len(PHOTO).to_bytes(4, "little") + PHOTO
    parameters = {"binary_data_size": len(packed)}
    head = json.dumps({"inputs": [{**TENSOR, "parameters": parameters}]}).encode()
    length = {"Inference-Header-Content-Length": str(len(head))}
    yield "/v2/models/pets/infer", "application/octet-stream", head + packed, length
    yield "/v1/jobs", "application/json", b'{"input": "test"}', {}
    yield "/v1/jobs", "application/zip", zipped({"1.png": PHOTO}), {}
    # What programs that go by the suffix say of a .tar.gz.
    yield "/v1/jobs", "application/x-tar", tarred({"1.png": PHOTO}), {}


@pytest.mark.parametrize("coding", ["gzip", "deflate"])
def test_every_form_of_a_request_is_decoded(
    shared_client: FlaskClient, coding: str
) -> None:
    for path, kind, body, headers in forms():
        packed = CODINGS[coding](body)

        response = send(shared_client, packed, coding, kind, path, **headers)

        assert response.status_code in {200, 202}, (path, response.text)


@pytest.mark.parametrize("coding", ["br", "zstd", "gzip, gzip", "gzip, br", "compress"])
def test_other_encoding_is_refused_by_those_that_are_decoded(
    shared_client: FlaskClient, coding: str
) -> None:
    for path, kind, body, headers in forms():
        response = send(shared_client, body, coding, kind, path, **headers)

        problem = response.get_json()
        assert (response.status_code, problem["code"]) == (
            415,
            "unsupported_media_type",
        )
        assert response.headers["Accept-Encoding"] == "gzip, deflate"
        assert repr(coding) in problem["detail"]


WHOLE = gzip.compress(bytes(range(256)) * 50)
DAMAGED = {
    "no gzip": (PHOTO, "gzip"),
    "cut off": (WHOLE[:-9], "gzip"),
    "checksum cut off": (WHOLE[:-3], "gzip"),
    "wrong checksum": (WHOLE[:-8] + bytes(8), "gzip"),
    "garbage behind it": (WHOLE + b"garbage", "gzip"),
    "gzip as deflate": (WHOLE, "deflate"),
    "raw and cut off": (raw_deflate(bytes(range(256)) * 50)[:-5], "deflate"),
}


@pytest.mark.parametrize("case", DAMAGED)
def test_damaged_body_is_refused(shared_client: FlaskClient, case: str) -> None:
    body, coding = DAMAGED[case]

    response = send(shared_client, body, coding)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (400, "bad_request")
    assert f"Content-Encoding {coding}" in problem["detail"]
    assert "Error -3" not in problem["detail"]


def test_empty_body_is_as_empty_as_without_the_header(
    shared_client: FlaskClient,
) -> None:
    assert send(shared_client, b"").get_json()["code"] == "empty_image"


def test_limit_is_that_of_the_decoded_body(
    client: FlaskClient, served: ServedModel, settings: ServiceSettings
) -> None:
    inside = PHOTO + bytes(settings.max_request_bytes - len(PHOTO))

    fits = send(client, gzip.compress(inside))
    above = send(client, gzip.compress(inside + b"\0"))

    assert fits.status_code == 200
    assert (above.status_code, above.get_json()["code"]) == (413, "too_large")


class Endless(io.RawIOBase):
    """A body that never ends; it counts what is read of it."""

    def __init__(self, start: bytes, block: bytes) -> None:
        self._parts = iter([start])
        self._rest = repeat(block)
        self.taken = 0

    def read(self, size: int = -1) -> bytes:
        data = next(self._parts, None) or next(self._rest)
        self.taken += len(data)
        return data


def bomb(block: bytes) -> Endless:
    return Endless(gzip.compress(b"")[:10], block)


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/jobs"])
def test_bomb_is_read_no_further_than_its_limit(client: FlaskClient, path: str) -> None:
    packer = zlib.compressobj(wbits=-15)
    zeros = packer.compress(bytes(2**20)) + packer.flush(zlib.Z_FULL_FLUSH)
    nothing = b"\0\0\0\xff\xff" * 10_000  # stored blocks of no byte

    for block, status in ((zeros, 413), (nothing, 400)):
        body = bomb(block)
        kind = "application/zip" if path == "/v1/jobs" else "image/png"
        response = client.post(
            path,
            headers={"Content-Encoding": "gzip", "Content-Type": kind},
            environ_overrides={"wsgi.input": body, "wsgi.input_terminated": True},
        )

        assert response.status_code == status, response.text
        assert body.taken < 3 * 2**20

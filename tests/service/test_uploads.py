"""Files leave a form byte for byte, wherever the pieces it is read in end."""

from __future__ import annotations

import io

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder, encode_multipart

from service.predictions.uploads import read_uploads
from service.upload_request import UploadRequest
from tests.pictures import grey

PIECE = 16 * 1024
"""What is read at a time; four of them are what werkzeug asks for."""


@pytest.mark.parametrize("before", [1, 4])
def test_boundary_may_lie_across_two_pieces(before: int) -> None:
    contents = b"\r\n--" * 10
    for length in range(before * PIECE - 300, before * PIECE):
        files = [contents + bytes(length), b"\r\n--not the boundary\r\n"]

        assert read_form(files) == files


@pytest.mark.parametrize("more", [0, 1])
def test_body_without_a_length_is_never_cut_off(client: FlaskClient, more: int) -> None:
    photo = grey(9)
    for kind in ("image/png", "multipart/form-data; boundary=b"):
        head = (
            b'--b\r\nContent-Disposition: form-data; name="image"; filename="a"\r\n\r\n'
        )
        body = photo if kind == "image/png" else head + photo + b"\r\n--b--\r\n"
        body += bytes(2**20 + more - len(body))

        response = client.post(
            "/v1/predict",
            environ_overrides={
                "CONTENT_TYPE": kind,
                "wsgi.input": io.BytesIO(body),
                "wsgi.input_terminated": True,
            },
        )

        assert response.status_code == (413 if more else 200)


def read_form(files: list[bytes]) -> list[bytes]:
    storages = [FileStorage(io.BytesIO(each), "a.jpg") for each in files]
    boundary, body = encode_multipart({"image": storages}, boundary="limit")
    environ = EnvironBuilder(
        method="POST",
        input_stream=io.BytesIO(body),
        content_length=len(body),
        content_type=f"multipart/form-data; boundary={boundary}",
    ).get_environ()
    request = UploadRequest(environ)
    try:
        return [upload.image for upload in read_uploads(request, max_images=2)]
    finally:
        request.close()

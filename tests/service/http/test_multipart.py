"""Multipart forms of common clients: byte for byte, with named mistakes."""

from __future__ import annotations

import io
import re

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import EnvironBuilder, TestResponse, encode_multipart

from service.http.multipart import UploadRequest
from service.predict.bodies import read_uploads
from tests.pictures import grey
from tests.worker.packing import zipped

PREDICT, EXPLAIN, JOBS = "/v1/predict", "/v1/explain", "/v1/jobs"


def part(headers: bytes, content: bytes) -> bytes:
    return b"--b\r\n" + headers + b"\r\n\r\n" + content + b"\r\n"


def named(disposition: bytes, content: bytes = grey(9)) -> bytes:
    return part(b"Content-Disposition: form-data; " + disposition, content)


def form(*parts: bytes) -> bytes:
    return b"".join(parts) + b"--b--\r\n"


def send(
    client: FlaskClient,
    body: bytes,
    kind: str = "multipart/form-data; boundary=b",
    path: str = PREDICT,
) -> TestResponse:
    # Not as `data`: the client would write a form of its own in the place of nothing.
    stream, length = io.BytesIO(body), str(len(body))
    headers = {"Content-Type": kind, "Content-Length": length}
    return client.post(path, input_stream=stream, headers=headers)


NAMES: dict[bytes, str | None] = {
    b'name="image"; filename="caf\xc3\xa9.jpg"': "café.jpg",
    b'name="image"; filename="caf\xe9.jpg"': "café.jpg",
    # Shift JIS: the second byte of this letter is a backslash.
    b'name="image"; filename="\x95\\.jpg"': "\x95\\.jpg",
    b'name="image"; filename="\x95\\"': "\x95\\",
    b'name="image"; filename="\xff\xfe\x00"': "ÿþ\x00",
    b'name="image"; filename="x"; filename*=UTF-8\'\'%e2%82%ac.jpg': "€.jpg",
    b'name="image"; filename*=UTF-8\'\'%e2%82%ac.jpg; filename="x"': "€.jpg",
    b"name=\"image\"; filename*=iso-8859-1'en'%A3.jpg": "£.jpg",
    b"name=\"image\"; filename*=shift_jis''%83%8C": "\x83\x8c",
    b"name=\"image\"; filename*=''": None,
    b'name="image"; filename*=a': "a",
    b'name="image"; filename="a\\"b\\\\c.jpg"': 'a"b\\c.jpg',
    b'name="image"; filename="a%22b.jpg"': 'a"b.jpg',
    b'name="image"; filename="a"b.jpg"': 'a"b.jpg',
    b'name="image"; filename="a;b=c.jpg"': "a;b=c.jpg",
    b'name="image"; filename="unclosed.jpg': "unclosed.jpg",
    b'name="image"; filename="C:\\photos\\rex.jpg"': "C:\\photos\\rex.jpg",
    b'name="image"; filename="../../etc/passwd"': "../../etc/passwd",
    b'name="image"; filename="a\x1b[31m\x07.jpg"': "a\x1b[31m\x07.jpg",
    b"name=image; filename=my photo\xe9.jpg": "my photoé.jpg",
    b'NAME="image"; FileName="a.jpg"': "a.jpg",
    b'filename="a.jpg"; name="image"': "a.jpg",
    b'name="image"; filename=""': None,
    b'name="image"; filename=': None,
    b'name="image"; filename': None,
    b'name="image"': None,
    b'name="image"\r\nContent-Type: image/png': None,
    b'name="image"\r\nX-Note: \xff\xfe': None,
}
"""What a client writes, and the name that its answer repeats."""


@pytest.mark.parametrize("disposition", NAMES, ids=repr)
def test_image_is_answered_whatever_its_name(
    shared_client: FlaskClient, disposition: bytes
) -> None:
    others = named(b'name="image"; filename="b.jpg"')

    response = send(shared_client, form(named(disposition), others))

    assert response.status_code == 200, response.text
    answers = response.get_json()["predictions"]
    assert [each["name"] for each in answers] == [NAMES[disposition], "b.jpg"]
    assert all("error" not in each for each in answers)


def test_name_of_another_encoding_names_an_archive(jobs_client: FlaskClient) -> None:
    archive = named(
        b'name="archive"; filename="caf\xe9.zip"', zipped({"1.png": grey(9)})
    )

    response = send(jobs_client, form(archive), path=JOBS)

    assert response.status_code == 202, response.text
    assert response.get_json()["input"] == "upload:café.zip"


def test_headers_of_a_part_are_read_in_linear_time(shared_client: FlaskClient) -> None:
    for piece in (b';a="', b';a="x"y', b'";', b'\\"', b';a="\\', b"; "):
        header = b'name="image"; filename="a' + piece * (60_000 // len(piece))

        response = send(shared_client, form(named(header)))

        assert response.status_code in {200, 422}


JPEG = b"\xff\xd8\xff\xe0"
BODIES: dict[str, tuple[bytes, str, str]] = {
    "no boundary": (
        form(named(b'name="image"; filename="a"')),
        "multipart/form-data",
        "has no boundary: leave Content-Type to the client",
    ),
    "another boundary": (
        form(named(b'name="image"; filename="a"')),
        "multipart/form-data; boundary=c",
        r"'--c' of Content-Type is nowhere in the body, which begins with '--b",
    ),
    "boundary that is not ASCII": (
        form(),
        'multipart/form-data; boundary="\xe9"',
        "is not ASCII",
    ),
    "JSON without a boundary": (
        b'{"images": []}',
        "multipart/form-data",
        "the body is JSON: send Content-Type: application/json",
    ),
    "JSON with a boundary": (
        b'{"images": []}',
        "multipart/form-data; boundary=b",
        r"nowhere in the body, which begins with '\{",
    ),
    "photo with a boundary": (
        JPEG + bytes(200_000),
        "multipart/form-data; boundary=b",
        "nowhere in the body",
    ),
    "empty": (b"", "multipart/form-data; boundary=b", "the form is empty"),
    "empty without a boundary": (b"", "multipart/form-data", "and the body is empty"),
    "no closing boundary": (
        named(b'name="image"; filename="a"'),
        "multipart/form-data; boundary=b",
        "breaks off before its closing boundary '--b--'",
    ),
    "cut off in a file": (
        form(named(b'name="image"; filename="a"'))[:-20],
        "multipart/form-data; boundary=b",
        "breaks off before its closing boundary '--b--'",
    ),
    "cut off in the headers": (
        b'--b\r\nContent-Disposition: form-data; name="im',
        "multipart/form-data; boundary=b",
        "breaks off before its closing boundary",
    ),
    "endless headers": (
        b"--b\r\n" + b"x" * 100_000,
        "multipart/form-data; boundary=b",
        "headers of a part of the form are too long",
    ),
    "part without a disposition": (
        form(part(b"Content-Type: image/png", grey(9))),
        "multipart/form-data; boundary=b",
        "no Content-Disposition header",
    ),
}


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN, JOBS])
@pytest.mark.parametrize("case", BODIES)
def test_form_that_cannot_be_read_is_refused_by_what_is_wrong(
    shared_client: FlaskClient, case: str, path: str
) -> None:
    body, kind, reason = BODIES[case]

    response = send(shared_client, body, kind, path)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (400, "bad_request")
    assert re.search(reason, problem["detail"]), problem["detail"]


FIELDS: dict[str, tuple[bytes, str]] = {
    "text in its place": (
        named(b'name="FIELD"', b"rex.jpg"),
        "'FIELD' is a text (it begins with 'rex.jpg'), not a file",
    ),
    "object in its place": (
        named(b'name="FIELD"', b"[object Object]"),
        "it begins with '[object Object]'",
    ),
    "no part": (b"", "no file in the form (its fields: none)"),
    "only texts": (named(b'name="model"', b"pets"), "its fields: 'model'"),
}


@pytest.mark.parametrize("case", FIELDS)
@pytest.mark.parametrize(
    ("path", "field"), [(PREDICT, b"image"), (EXPLAIN, b"image"), (JOBS, b"archive")]
)
def test_form_without_a_file_says_what_it_holds(
    shared_client: FlaskClient, case: str, path: str, field: bytes
) -> None:
    body, reason = FIELDS[case]

    response = send(shared_client, form(body.replace(b"FIELD", field)), path=path)

    detail = response.get_json()["detail"]
    assert response.status_code == 400
    assert reason.replace("FIELD", field.decode()) in detail
    assert f"curl -F {field.decode()}=@FILE" in detail


@pytest.mark.parametrize("name", ["file", "images", "image[]", "café", ""])
def test_file_in_another_field_is_told_the_right_one(
    shared_client: FlaskClient, name: str
) -> None:
    for path, field in ((PREDICT, "image"), (EXPLAIN, "image"), (JOBS, "archive")):
        disposition = f'name="{name}"; filename="a.jpg"'.encode("latin-1")

        response = send(shared_client, form(named(disposition)), path=path)

        assert response.status_code == 400
        detail = response.get_json()["detail"]
        assert repr(name) in detail
        assert f"curl -F {field}=@FILE" in detail


@pytest.mark.parametrize(
    ("disposition", "reason"),
    [
        (b'name="image"; filename="a.jpg"', "the file 'a.jpg' is empty (0 bytes)"),
        (b'name="image"; filename=""', "a field 'image' holds no file"),
    ],
)
def test_empty_file_is_one_bad_image_among_others(
    shared_client: FlaskClient, disposition: bytes, reason: str
) -> None:
    good = named(b'name="image"; filename="b.jpg"')
    empty = named(disposition, b"")

    alone = send(shared_client, form(empty)).get_json()
    among = send(shared_client, form(empty, good)).get_json()["predictions"]

    assert (alone["status"], alone["code"]) == (422, "empty_image")
    assert reason in alone["detail"]
    assert among[0]["error"]["code"] == "empty_image"
    assert among[1]["label"]


@pytest.mark.parametrize("path", [PREDICT, EXPLAIN])
def test_plain_form_is_told_that_it_holds_no_files(
    shared_client: FlaskClient, path: str
) -> None:
    kind = "application/x-www-form-urlencoded"

    response = send(shared_client, b"image=rex.jpg", kind, path)

    assert response.status_code == 415
    assert "curl -d and --data-binary" in response.get_json()["detail"]


def test_form_that_is_sent_as_json_is_told_so(shared_client: FlaskClient) -> None:
    body = form(named(b'name="image"; filename="a"'))

    response = send(shared_client, body, "application/json")

    assert response.status_code == 400
    assert "the body is a form, not JSON" in response.get_json()["detail"]


def test_part_without_a_name_is_one_of_no_use(shared_client: FlaskClient) -> None:
    good = named(b'name="image"; filename="a.jpg"')

    response = send(shared_client, form(good, named(b"", b"text")))

    assert response.status_code == 422
    assert "unknown form field ''" in response.get_json()["detail"]


def test_long_text_is_told_to_be_a_file(shared_client: FlaskClient) -> None:
    response = send(shared_client, form(named(b'name="image"', b"QUJD" * 150_000)))

    assert response.status_code == 413
    assert "send it as a file" in response.get_json()["detail"]


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

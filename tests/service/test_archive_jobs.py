"""POST /v1/jobs with the photos in an archive, against a real queue on a real Redis."""

from __future__ import annotations

import io
import os
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from models.errors import ModelOverloadedError
from service.jobs.archive_upload import ArchiveUploads, input_name
from service.settings import ServiceSettings
from service.upload_request import UploadRequest
from tests.pictures import grey
from tests.service.served_model import ServedModel
from tests.worker.packing import tarred, zeroed, zipped

PHOTOS = {f"test/{number}.png": grey(number) for number in (1, 2, 10)}
ARCHIVE = zipped(PHOTOS)


def send_form(
    client: FlaskClient, archive: bytes = ARCHIVE, key: str = "", **members: Any
) -> TestResponse:
    fields = {**members, "archive": FileStorage(io.BytesIO(archive), "photos.zip")}
    boundary, body = encode_multipart(fields)
    return client.post(
        "/v1/jobs",
        data=body,
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Idempotency-Key": key} if key else {},
    )


def send_body(
    client: FlaskClient,
    archive: bytes = ARCHIVE,
    kind: str = "application/zip",
    **members: Any,
) -> TestResponse:
    return client.post(
        "/v1/jobs", data=archive, content_type=kind, query_string=members
    )


def test_form_with_an_archive_is_accepted(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    response = send_form(jobs_client, format="full", clip="off")

    status = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{status['id']}"
    assert (status["input"], status["format"]) == ("upload:photos.zip", "full")
    assert status["progress"]["total"] == 3
    run = settings.runs_dir / status["id"]
    assert {file.name for file in (run / "photos").iterdir()} == {
        "1.png",
        "2.png",
        "10.png",
    }
    assert os.listdir(settings.runs_dir) == [status["id"]]  # noqa: PTH208


@pytest.mark.parametrize(
    ("archive", "kind"),
    [
        (ARCHIVE, "application/zip"),
        (tarred(PHOTOS), "application/x-tar"),
        (tarred(PHOTOS, "w:gz"), "application/gzip"),
    ],
)
def test_archive_as_the_body_is_accepted(
    jobs_client: FlaskClient, archive: bytes, kind: str
) -> None:
    response = send_body(jobs_client, archive, kind, input="a.zip", positive="cat")

    assert response.status_code == 202
    assert response.get_json()["input"] == "upload:a.zip"
    assert response.get_json()["progress"]["total"] == 3


def test_same_key_and_archive_is_the_same_job(jobs_client: FlaskClient) -> None:
    first = send_form(jobs_client, key="order-1").get_json()["id"]

    again = send_form(jobs_client, key="order-1")
    other = send_form(jobs_client, zipped({"1.png": grey(9)}), key="order-1")

    assert again.get_json()["id"] == first
    assert (other.status_code, other.get_json()["code"]) == (
        409,
        "idempotency_conflict",
    )


REFUSED: dict[str, tuple[Any, int, str]] = {
    "no archive": (lambda c: send_body(c, b"x" * 2000), 422, "invalid_archive"),
    "empty body": (lambda c: send_body(c, b""), 422, "invalid_archive"),
    "zeroed page": (
        lambda c: send_body(c, zeroed(tarred(PHOTOS), 1024, 512), "application/x-tar"),
        422,
        "invalid_archive",
    ),
    "no file": (
        lambda c: c.post("/v1/jobs", data={"a": "b"}, content_type="multipart/form-data"),
        422,
        "invalid_parameter",
    ),
    "bad folder": (lambda c: send_body(c, zipped({"a.md": b""})), 422, "invalid_archive"),
    "same ids": (
        lambda c: send_body(c, zipped({"1.png": b"", "01.png": b""})),
        422,
        "invalid_input",
    ),
    "unknown member": (lambda c: send_form(c, colour="red"), 422, "invalid_parameter"),
    "member twice": (
        lambda c: c.post("/v1/jobs?clip=off&clip=1", data=b"", content_type="application/zip"),
        422,
        "invalid_parameter",
    ),
    "bad format": (lambda c: send_body(c, format="xml"), 422, "invalid_parameter"),
    "unknown model": (lambda c: send_body(c, model="cows"), 404, "model_not_found"),
    "too large": (lambda c: send_body(c, b"x" * 2_000_000), 413, "too_large"),
    "too large unpacked": (
        lambda c: send_body(c, zipped({"1.bmp": bytes(5_000_000)})),
        413,
        "too_large",
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED)
def test_archive_is_refused_and_leaves_nothing(
    jobs_client: FlaskClient, settings: ServiceSettings, case: str
) -> None:
    send, status, code = REFUSED[case]

    response = send(jobs_client)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert str(settings.runs_dir) not in problem["detail"]
    assert not settings.runs_dir.exists() or list(settings.runs_dir.iterdir()) == []


def test_two_archives_are_one_too_many(jobs_client: FlaskClient) -> None:
    files = [FileStorage(io.BytesIO(ARCHIVE), name) for name in ("a.zip", "b.zip")]
    boundary, body = encode_multipart({"archive": files})

    response = jobs_client.post(
        "/v1/jobs",
        data=body,
        content_type=f"multipart/form-data; boundary={boundary}",
    )

    assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")


def test_only_a_few_archives_come_in_at_once(tmp_path: Path) -> None:
    uploads = ArchiveUploads(tmp_path, 1000, at_once=1)
    request = UploadRequest({})

    with (
        uploads.taking(request),
        pytest.raises(ModelOverloadedError),
        uploads.taking(request),
    ):
        raise AssertionError
    with uploads.taking(request):
        assert request.max_content_length == 1000


def test_one_sender_of_archives_leaves_a_place_to_others(tmp_path: Path) -> None:
    uploads = ArchiveUploads(tmp_path, 1000, at_once=3)
    request = UploadRequest({})

    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(uploads.taking(request, "ann"))
        with pytest.raises(ModelOverloadedError):
            held.enter_context(uploads.taking(request, "ann"))
        held.enter_context(uploads.taking(request, "bob"))
        with pytest.raises(ModelOverloadedError):
            held.enter_context(uploads.taking(request, "cat"))
    with uploads.taking(request, "ann"):
        assert request.max_content_length == 1000


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("photos.zip", "upload:photos.zip"),
        ("C:\\me\\photos.zip", "upload:photos.zip"),
        ("../../etc/a\nb\u202e.zip", "upload:ab.zip"),
        ("", "upload:archive"),
        ("x" * 500, "upload:" + "x" * 100),
    ],
)
def test_name_of_an_upload_is_for_people(name: str, shown: str) -> None:
    assert input_name(name) == shown


def submit(client: FlaskClient, **members: Any) -> TestResponse:
    key = members.pop("key", "")
    headers = {"Idempotency-Key": key} if key else {}
    return client.post("/v1/jobs", json={"input": "test", **members}, headers=headers)


@pytest.fixture
def versions(settings: ServiceSettings, served: ServedModel) -> ServedModel:
    (settings.input_root / "test").mkdir()
    (settings.input_root / "test" / "1.png").write_bytes(grey(1))
    served.versions = (1, 2, 3)
    served.version_labels = {"canary": 2}
    return served


@pytest.mark.parametrize(
    ("members", "version"),
    [({}, 3), ({"version": 1}, 1), ({"version": "2"}, 2), ({"label": "canary"}, 2)],
)
def test_job_is_pinned_to_the_version_it_names(
    jobs_client: FlaskClient, versions: ServedModel, members: Any, version: int
) -> None:
    assert submit(jobs_client, **members).get_json()["version"] == version
    assert send_form(jobs_client, **members).get_json()["version"] == version


@pytest.mark.parametrize(
    ("members", "status"),
    [
        ({"version": 9}, 404),
        ({"version": True}, 422),
        ({"version": 1.5}, 422),
        ({"version": "0"}, 422),
        ({"label": "a b"}, 422),
        ({"version": 1, "label": "canary"}, 422),
    ],
)
def test_impossible_version_is_refused(
    jobs_client: FlaskClient, versions: ServedModel, members: Any, status: int
) -> None:
    assert submit(jobs_client, **members).status_code == status


def test_moved_label_finds_its_job_again(
    jobs_client: FlaskClient, versions: ServedModel
) -> None:
    first = submit(jobs_client, label="canary", key="order-1").get_json()
    versions.version_labels["canary"] = 3

    again = submit(jobs_client, label="canary", key="order-1").get_json()
    other = submit(jobs_client, version=2, key="order-1")

    assert (again["id"], again["version"]) == (first["id"], 2)
    assert other.get_json()["code"] == "idempotency_conflict"

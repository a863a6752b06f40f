"""POST /v1/jobs with an archive or CSV files, against a real queue on a real Redis."""

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
from models.images.preprocessing import NEWEST, Preprocessing
from service.http.multipart import UploadRequest
from service.jobs.submit import ArchiveUploads, input_name
from service.settings import ServiceSettings
from tests.pictures import grey, write_folder
from tests.service.conftest import check_no_job
from tests.service.served_model import ServedModel
from tests.worker.packing import tarred, zeroed, zipped
from tests.worker.world import items_of
from worker.runs import find_run

LIST = b"image,id\n2.png,b\n1.png,a\n"


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    write_folder(settings.input_root / "test", 3)
    (settings.input_root / "list.csv").write_bytes(LIST)
    return settings


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


REFUSED_ARCHIVES: dict[str, tuple[Any, int, str]] = {
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


@pytest.mark.parametrize("case", REFUSED_ARCHIVES)
def test_archive_is_refused_and_leaves_nothing(
    shared_client: FlaskClient, shared_settings: ServiceSettings, case: str
) -> None:
    send, status, code = REFUSED_ARCHIVES[case]

    response = send(shared_client)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    assert str(shared_settings.runs_dir) not in problem["detail"]
    check_no_job(shared_client, shared_settings)


def test_two_archives_are_one_too_many(shared_client: FlaskClient) -> None:
    files = [FileStorage(io.BytesIO(ARCHIVE), name) for name in ("a.zip", "b.zip")]
    boundary, body = encode_multipart({"archive": files})

    response = shared_client.post(
        "/v1/jobs",
        data=body,
        content_type=f"multipart/form-data; boundary={boundary}",
    )

    assert (response.status_code, response.get_json()["code"]) == (400, "bad_request")


def test_only_a_few_archives_come_in_at_once(tmp_path: Path) -> None:
    uploads = ArchiveUploads(tmp_path, 1000, at_once=1)
    request = UploadRequest({})

    with (
        uploads.receiving(request),
        pytest.raises(ModelOverloadedError),
        uploads.receiving(request),
    ):
        raise AssertionError
    with uploads.receiving(request):
        assert request.max_content_length == 1000


def test_one_sender_of_archives_leaves_a_place_to_others(tmp_path: Path) -> None:
    uploads = ArchiveUploads(tmp_path, 1000, at_once=3)
    request = UploadRequest({})

    with ExitStack() as held:
        for _ in range(2):
            held.enter_context(uploads.receiving(request, "ann"))
        with pytest.raises(ModelOverloadedError):
            held.enter_context(uploads.receiving(request, "ann"))
        held.enter_context(uploads.receiving(request, "bob"))
        with pytest.raises(ModelOverloadedError):
            held.enter_context(uploads.receiving(request, "cat"))
    with uploads.receiving(request, "ann"):
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
def versions(served: ServedModel) -> ServedModel:
    served.versions = (1, 2, 3)
    served.version_labels = {"canary": 2}
    return served


def test_job_is_pinned_to_the_version_it_names(
    jobs_client: FlaskClient, versions: ServedModel
) -> None:
    named: list[tuple[dict[str, Any], int]] = [
        ({}, 3),
        ({"version": 1}, 1),
        ({"version": "2"}, 2),
        ({"label": "canary"}, 2),
    ]

    for members, version in named:
        assert submit(jobs_client, **members).get_json()["version"] == version
        assert send_form(jobs_client, **members).get_json()["version"] == version


def test_job_asks_as_the_card_of_its_version_says(
    jobs_client: FlaskClient, versions: ServedModel, settings: ServiceSettings
) -> None:
    versions.preprocessings = {2: Preprocessing.WHOLE}
    versions.precisions = {2: "float32", 3: "int8"}

    found = []
    for version in (2, 3):
        job = submit(jobs_client, version=version).get_json()["id"]
        request = find_run(settings.runs_dir, job).manifest.request
        found.append((request.preprocessing, request.batch_invariant))

    assert found == [(Preprocessing.WHOLE, False), (NEWEST, True)]


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
    shared_client: FlaskClient, members: Any, status: int
) -> None:
    assert submit(shared_client, **members).status_code == status


def test_moved_label_finds_its_job_again(
    jobs_client: FlaskClient, versions: ServedModel
) -> None:
    first = submit(jobs_client, label="canary", key="order-1").get_json()
    versions.version_labels["canary"] = 3

    again = submit(jobs_client, label="canary", key="order-1").get_json()
    other = submit(jobs_client, version=2, key="order-1")

    assert (again["id"], again["version"]) == (first["id"], 2)
    assert other.get_json()["code"] == "idempotency_conflict"


SAMPLE = b"id,label\n3,0\n1,0\n2,0\n"


def send(client: FlaskClient, *, key: str = "", **fields: Any) -> TestResponse:
    files = {
        name: FileStorage(io.BytesIO(value), f"{name}.csv")
        if isinstance(value, bytes)
        else value
        for name, value in fields.items()
    }
    boundary, body = encode_multipart(files)
    return client.post(
        "/v1/jobs",
        data=body,
        content_type=f"multipart/form-data; boundary={boundary}",
        headers={"Idempotency-Key": key} if key else {},
    )


def ids(settings: ServiceSettings, response: TestResponse) -> list[str]:
    assert response.status_code == 202, response.text
    run = find_run(settings.runs_dir, response.get_json()["id"])
    return [item.id for item in items_of(run)]


def test_form_brings_a_sample_for_a_folder(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    response = send(jobs_client, input="test", sample_submission=SAMPLE)

    assert ids(settings, response) == ["3", "1", "2"]
    assert response.get_json()["input"] == "test"
    assert response.get_json()["format"] == "kaggle-binary"


def test_form_brings_both_files_for_an_archive(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    archive = zipped({f"{number}.png": grey(number) for number in (1, 2)})
    sample = b"img,dog,cat\nb,0,0\na,0,0\n"

    response = send(
        jobs_client, archive=archive, manifest=LIST, sample_submission=sample
    )

    assert ids(settings, response) == ["b", "a"]
    assert response.get_json()["format"] == "kaggle-multiclass"


def test_format_label_can_be_asked_for_or_shown_by_a_sample(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    asked = jobs_client.post("/v1/jobs", json={"input": "test", "format": "label"})
    names = SAMPLE.replace(b",0", b",dog")
    shown = send(jobs_client, input="test", sample_submission=names)

    assert ids(settings, asked) == ["1", "2", "3"]
    assert ids(settings, shown) == ["3", "1", "2"]
    for response in (asked, shown):
        status = response.get_json()
        assert (status["format"], status["positive"]) == ("label", None)


def test_json_names_a_file_of_the_service(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    body = {"input": "test", "manifest": "list.csv", "sample_submission": None}

    assert ids(settings, jobs_client.post("/v1/jobs", json=body)) == ["b", "a"]


def test_form_can_name_a_file_of_the_service(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    response = send(jobs_client, input="test", manifest="list.csv")

    assert ids(settings, response) == ["b", "a"]


def test_same_key_with_another_sample_is_a_conflict(jobs_client: FlaskClient) -> None:
    first = send(jobs_client, key="k", input="test", sample_submission=SAMPLE)

    again = send(jobs_client, key="k", input="test", sample_submission=SAMPLE)
    other = send(jobs_client, key="k", input="test")

    assert again.get_json()["id"] == first.get_json()["id"]
    assert other.get_json()["code"] == "idempotency_conflict"


TWICE = [FileStorage(io.BytesIO(LIST), "a.csv"), "list.csv"]
REFUSED_CSV_FILES: dict[str, tuple[dict[str, Any], int, str]] = {
    "no images": ({"sample_submission": SAMPLE}, 400, "bad_request"),
    "unknown file": ({"input": "test", "labels": LIST}, 400, "bad_request"),
    "twice": ({"input": "test", "manifest": TWICE}, 422, "invalid_parameter"),
    "other ids": ({"input": "test", "sample_submission": b"id,p\n7,0\n"}, 422, "invalid_input"),
    "other format": (
        {"input": "test", "sample_submission": SAMPLE, "format": "full"},
        422,
        "invalid_input",
    ),
    "no format": (
        {"input": "test", "sample_submission": SAMPLE, "format": "xml"},
        422,
        "invalid_parameter",
    ),
    "not there": ({"input": "test", "manifest": "no.csv"}, 422, "invalid_input"),
    "no folder": ({"input": "none", "manifest": LIST}, 422, "invalid_input"),
    "too large": ({"input": "test", "manifest": b"," * 2_000_000}, 413, "too_large"),
}  # fmt: skip


@pytest.mark.parametrize("case", REFUSED_CSV_FILES)
def test_file_is_refused_and_leaves_nothing(
    shared_client: FlaskClient, shared_settings: ServiceSettings, case: str
) -> None:
    fields, status, code = REFUSED_CSV_FILES[case]

    response = send(shared_client, **fields)

    assert (response.status_code, response.get_json()["code"]) == (status, code)
    check_no_job(shared_client, shared_settings)


def test_id_with_a_slash_has_a_photo(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    response = send(jobs_client, input="test", manifest=b"file,id\n1.png,a/1.png\n")
    job = response.get_json()["id"]

    assert jobs_client.get(f"/v1/jobs/{job}/images/a%2F1.png").status_code == 200

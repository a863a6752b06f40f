"""POST /v1/jobs with CSV files: in a form, or named below INPUT_ROOT."""

from __future__ import annotations

import io
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from service.settings import ServiceSettings
from tests.pictures import grey, write_folder
from tests.worker.packing import zipped
from tests.worker.world import items_of
from worker.runs import find_run

SAMPLE = b"id,label\n3,0\n1,0\n2,0\n"
LIST = b"image,id\n2.png,b\n1.png,a\n"


@pytest.fixture(autouse=True)
def photos(settings: ServiceSettings) -> None:
    write_folder(settings.input_root / "test", 3)
    (settings.input_root / "list.csv").write_bytes(LIST)


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
REFUSED: dict[str, tuple[dict[str, Any], int, str]] = {
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


@pytest.mark.parametrize("case", REFUSED)
def test_file_is_refused_and_leaves_nothing(
    jobs_client: FlaskClient, settings: ServiceSettings, case: str
) -> None:
    fields, status, code = REFUSED[case]

    response = send(jobs_client, **fields)

    assert (response.status_code, response.get_json()["code"]) == (status, code)
    assert not settings.runs_dir.exists() or list(settings.runs_dir.iterdir()) == []


def test_id_with_a_slash_has_a_photo(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    response = send(jobs_client, input="test", manifest=b"file,id\n1.png,a/1.png\n")
    job = response.get_json()["id"]

    assert jobs_client.get(f"/v1/jobs/{job}/images/a%2F1.png").status_code == 200

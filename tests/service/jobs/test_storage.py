"""Unreadable folders and buckets are answered as unavailable, never as "no jobs"."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import grey, write_folder
from tests.processes import free_port
from tests.service.conftest import app_of, post_image

NOBODY = 65534
JOB = "/v1/jobs/0123456789abcdef"
ROUTES = [
    *(("GET", "/v1/jobs"), ("GET", JOB), ("DELETE", JOB)),
    *(("GET", f"{JOB}/submission.csv"), ("GET", f"{JOB}/report")),
    *(("POST", f"{JOB}/cancel"), ("POST", "/v1/jobs")),
]
OTHERS = ["/metrics", "/readyz", "/jobs"]


@contextmanager
def a_file(folder: Path) -> Iterator[None]:
    folder.write_text("not a folder")
    yield


@contextmanager
def forbidden(folder: Path) -> Iterator[None]:
    folder.mkdir()
    folder.chmod(0)
    superuser = os.geteuid() == 0
    if superuser:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if superuser:
            os.seteuid(0)
        folder.chmod(0o700)


@contextmanager
def unsearchable(folder: Path) -> Iterator[None]:
    """Its names may be listed, but nothing in it opened."""
    with forbidden(folder):
        if os.geteuid() == NOBODY:
            os.seteuid(0)
            folder.chmod(0o704)
            os.seteuid(NOBODY)
        else:
            folder.chmod(0o400)
        yield


@contextmanager
def a_loop(folder: Path) -> Iterator[None]:
    folder.symlink_to(folder)
    yield


@pytest.fixture(params=[a_file, forbidden, unsearchable, a_loop])
def unreadable_runs(
    request: pytest.FixtureRequest,
    jobs_client: FlaskClient,
    settings: ServiceSettings,
    tmp_path: Path,
) -> Iterator[FlaskClient]:
    """A client of an API that lost the right to read its runs after it had started."""
    write_folder(settings.input_root / "test", 3)
    for each in (tmp_path, *tmp_path.parents[:3], settings.input_root):
        each.chmod(each.stat().st_mode | 0o055)
    # Whatever Python imports late: as another user it may not even read that.
    for method, path in [*ROUTES, *(("GET", path) for path in OTHERS)]:
        jobs_client.open(path, method=method, json={})
    post_image(jobs_client, grey(9))
    "".encode("ascii")
    with request.param(settings.runs_dir):
        yield jobs_client


@pytest.mark.parametrize(("method", "path"), ROUTES)
def test_jobs_of_an_unreadable_folder_are_unavailable(
    unreadable_runs: FlaskClient, method: str, path: str
) -> None:
    body = {"input": "test"} if path == "/v1/jobs" and method == "POST" else None

    problem = unreadable_runs.open(path, method=method, json=body).get_json()

    assert (problem["status"], problem["code"]) == (503, "storage_unavailable")


def test_predictions_go_on_beside_an_unreadable_folder(
    unreadable_runs: FlaskClient,
) -> None:
    assert post_image(unreadable_runs, grey(9)).status_code == 200
    assert unreadable_runs.get("/metrics").status_code == 200
    ready = unreadable_runs.get("/readyz").get_json()
    assert ready["status"] == "degraded"
    assert ready["parts"]["disk"]["code"] == "storage_unavailable"
    assert unreadable_runs.get("/jobs").status_code == 200


def test_folder_that_is_not_there_yet_holds_no_jobs(jobs_client: FlaskClient) -> None:
    assert jobs_client.get("/v1/jobs").get_json()["jobs"] == []


BUCKET = "a-bucket-that-is-nobodys-business"


@pytest.fixture
def remote_client(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
) -> FlaskClient:
    """A client of the API whose object storage is away."""
    pytest.importorskip("s3fs", reason="pip install 'kennel[s3]'")
    endpoint = f"http://127.0.0.1:{free_port()}"
    monkeypatch.setenv("AWS_ENDPOINT_URL", endpoint)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "secret")
    remote = dataclasses.replace(settings, input_url=f"s3://{BUCKET}")
    return app_of(remote, model_client, redis_server.url).test_client()


def test_storage_that_is_away_is_unavailable(remote_client: FlaskClient) -> None:
    response = remote_client.post("/v1/jobs", json={"input": "test"})

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (503, "storage_unavailable")
    assert "Retry-After" in response.headers
    assert BUCKET not in response.text
    assert "127.0.0.1" not in response.text
    assert remote_client.get("/v1/jobs").get_json()["jobs"] == []


def test_page_suggests_nothing_that_it_has_not_seen(remote_client: FlaskClient) -> None:
    page = remote_client.get("/jobs").text

    assert "Below the input folder of this service." in page
    assert "holds no folder yet" not in page

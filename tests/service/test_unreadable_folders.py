"""Folders that the API may not read: said so, never "no jobs", and predictions go on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from flask.testing import FlaskClient

from service.settings import ServiceSettings
from tests.pictures import grey, write_folder
from tests.service.conftest import post_image

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

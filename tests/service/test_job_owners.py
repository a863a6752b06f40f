"""With API keys a job is there for its own key, and for admins, alone."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.wire.client import ModelServerClient
from service.protection.keyfile import find_key, replace_key
from service.protection.keys import create_key
from service.protection.settings import ProtectionSettings
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.finished_runs import finish_run
from tests.pictures import write_folder
from tests.service.protected import bearer, new_key, protected_app
from worker.runs import find_run


@dataclass
class Site:
    """An API with the keys "ann" and "bob" (scope jobs) and "ops" (admin).

    Attributes:
        open: a client of the same jobs where no key is asked for.
    """

    client: FlaskClient
    open: FlaskClient
    keys: Path
    runs: Path
    secrets: dict[str, str]

    def ask(self, name: str, path: str, method: str = "GET") -> TestResponse:
        headers = {**bearer(self.secrets[name]), "Accept": "application/json"}
        return self.client.open(path, method=method, headers=headers)

    def submit(self, name: str, key: str | None = None) -> TestResponse:
        headers = bearer(self.secrets[name])
        if key is not None:
            headers["Idempotency-Key"] = key
        return self.client.post("/v1/jobs", json={"input": "test"}, headers=headers)

    def job_of(self, name: str) -> str:
        return str(self.submit(name).get_json()["id"])

    def finish(self, job: str) -> str:
        finish_run(find_run(self.runs, job), "id,label\n1,0.5\n", {"images": 3})
        return job

    def listed(self, name: str, query: str = "") -> list[str]:
        jobs = self.ask(name, f"/v1/jobs{query}").get_json()["jobs"]
        return [job["id"] for job in jobs]


@pytest.fixture
def site(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
    tmp_path: Path,
) -> Site:
    write_folder(settings.input_root / "test", 3)
    settings = replace(settings, redis_url=redis_server.url)
    keys = tmp_path / "keys"
    secrets = {
        name: new_key(keys, name, scope)
        for name, scope in (("ann", "jobs"), ("bob", "jobs"), ("ops", "admin"))
    }
    guarded, unguarded = (
        protected_app(settings, model_client, ProtectionSettings(api_keys_file=path))
        for path in (keys, None)
    )
    return Site(
        guarded.test_client(),
        unguarded.test_client(),
        keys,
        settings.runs_dir,
        secrets,
    )


READS = ["", "/submission.csv", "/report", "/scores", "/images/1"]
CHANGES = [("POST", "/cancel"), ("POST", "/retry"), ("DELETE", "")]


@pytest.mark.parametrize("path", READS)
def test_job_of_another_key_is_like_one_that_never_was(site: Site, path: str) -> None:
    job = site.finish(site.job_of("ann"))

    foreign = site.ask("bob", f"/v1/jobs/{job}{path}")
    absent = site.ask("bob", f"/v1/jobs/{'0' * len(job)}{path}")

    assert (foreign.status_code, foreign.get_json()["code"]) == (404, "job_not_found")
    assert (
        foreign.get_json()["detail"].replace(job, "0" * len(job))
        == (absent.get_json()["detail"])
    )
    for name in ("ann", "ops"):
        with site.ask(name, f"/v1/jobs/{job}{path}") as own:
            assert own.status_code != 403
            assert b"job_not_found" not in own.data


@pytest.mark.parametrize(("method", "path"), CHANGES)
def test_job_of_another_key_cannot_be_changed(
    site: Site, method: str, path: str
) -> None:
    job = site.job_of("ann")

    assert site.ask("bob", f"/v1/jobs/{job}{path}", method).status_code == 404
    assert site.ask("ann", f"/v1/jobs/{job}").get_json()["state"] == "queued"


def test_admin_may_end_anybodys_job(site: Site) -> None:
    job = site.job_of("ann")

    assert site.ask("ops", f"/v1/jobs/{job}/cancel", "POST").status_code == 200
    assert site.ask("ops", f"/v1/jobs/{job}", "DELETE").status_code == 204


def test_keys_list_their_own_jobs_and_admins_all(site: Site) -> None:
    first, second, third = (site.job_of(name) for name in ("ann", "bob", "ann"))

    assert site.listed("ann") == [third, first]
    assert site.listed("bob") == [second]
    assert site.listed("ops") == [third, second, first]
    owners = {job["owner"] for job in site.ask("ops", "/v1/jobs").get_json()["jobs"]}
    assert owners == {"ann", "bob"}


def test_pages_count_own_jobs_only(site: Site) -> None:
    first, foreign, second = (site.job_of(name) for name in ("ann", "bob", "ann"))

    page = site.ask("ann", "/v1/jobs?limit=1").get_json()
    assert page["next"] == second
    assert site.listed("ann", f"?limit=1&after={second}") == [first]
    refused = site.ask("ann", f"/v1/jobs?after={foreign}")
    absent = site.ask("ann", f"/v1/jobs?after={'0' * 16}")
    assert (refused.status_code, absent.status_code) == (422, 422)
    assert (
        refused.get_json()["detail"].replace(foreign, "0" * 16)
        == (absent.get_json()["detail"])
    )


def test_idempotency_keys_of_two_keys_are_two_jobs(site: Site) -> None:
    jobs = [site.submit(name, "same").get_json()["id"] for name in ("ann", "bob")]

    assert len(set(jobs)) == 2
    assert site.submit("ann", "same").get_json()["id"] == jobs[0]
    assert site.listed("bob") == [jobs[1]]


def test_page_of_another_keys_job_is_not_there(site: Site) -> None:
    job = site.job_of("ann")

    assert site.ask("bob", f"/jobs/{job}").status_code == 404
    assert site.ask("ann", f"/jobs/{job}").status_code == 200


def test_jobs_from_before_there_were_keys_are_the_admins(site: Site) -> None:
    headers = {"Idempotency-Key": "same"}
    old = site.open.post("/v1/jobs", json={"input": "test"}, headers=headers)
    job = old.get_json()["id"]

    assert old.get_json()["owner"] is None
    assert site.listed("ann") == []
    assert site.ask("ann", f"/v1/jobs/{job}").status_code == 404
    assert site.listed("ops") == [job]
    assert site.submit("ann", "same").get_json()["id"] != job
    assert len(site.open.get("/v1/jobs").get_json()["jobs"]) == 2


def test_rotated_key_keeps_its_jobs(site: Site) -> None:
    job = site.job_of("ann")

    key, site.secrets["ann"] = create_key(
        "ann", find_key(site.keys, "ann").scopes, None
    )
    replace_key(site.keys, key)

    assert site.listed("ann") == [job]

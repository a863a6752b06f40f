"""/v1/jobs against a real queue on a real Redis, without workers."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.wire.client import ModelServerClient
from service.auth.guard import AuthSettings
from service.auth.keys import create_key, find_key, replace_key
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.finished_runs import finish_run
from tests.pictures import write_folder
from tests.service.auth.protected import bearer, new_key, protected_app
from tests.service.conftest import app_of, check_no_job
from tests.service.served_model import ServedModel
from worker.queue import JobLimits
from worker.runs import find_run


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    write_folder(settings.input_root / "test", 3)
    return settings


def submit(client: FlaskClient, key: str | None = None, **members: Any) -> TestResponse:
    headers = {"Idempotency-Key": key} if key is not None else {}
    return client.post("/v1/jobs", json={"input": "test", **members}, headers=headers)


def finish(settings: ServiceSettings, job: str) -> str:
    """What the workers do in the end."""
    csv = "id,label\n1,0.5\n2,0.5\n3,0.5\n"
    finish_run(find_run(settings.runs_dir, job), csv, {"images": 3})
    return csv


def test_submitted_job_is_accepted_and_pinned(
    jobs_client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (1, 2)

    response = submit(jobs_client)

    status = response.get_json()
    assert response.status_code == 202
    assert response.headers["Location"] == f"/v1/jobs/{status['id']}"
    assert (status["state"], status["model"], status["version"]) == (
        "queued",
        "pets",
        2,
    )
    assert status["progress"] == {"done": 0, "total": 3, "unreadable": 0}


def test_status_has_the_label_of_the_version_and_whose_probability_the_csv_has(
    jobs_client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.version_labels = (1, 2), {"canary": 1}

    plain, labelled = submit(jobs_client), submit(jobs_client, label="canary")
    full = submit(jobs_client, format="full", version=1).get_json()

    status = labelled.get_json()
    assert (status["version"], status["label"], status["positive"]) == (
        1,
        "canary",
        "dog",
    )
    assert (plain.get_json()["label"], full["label"]) == (None, None)
    assert full["positive"] is None
    page = jobs_client.get(f"/jobs/{status['id']}").text
    assert "version 1, chosen by label canary" in page
    assert "kaggle-binary: probability of dog" in page


def test_job_of_a_model_that_was_removed_stays_readable(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    jobs_client: FlaskClient,
    redis_server: RedisServer,
) -> None:
    job = submit(jobs_client).get_json()["id"]
    csv = finish(settings, job)
    others = replace(settings, model_names=("cows",))
    later = app_of(others, model_client, redis_server.url).test_client()

    assert later.get(f"/v1/jobs/{job}").get_json()["model"] == "pets"
    with later.get(f"/v1/jobs/{job}/submission.csv") as answer:
        assert answer.get_data(as_text=True) == csv
    page = later.get(f"/jobs/{job}").text
    assert "<dd>pets, version 1</dd>" in page


def test_repeated_submit_finds_its_job_after_the_default_model_changed(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    jobs_client: FlaskClient,
    redis_server: RedisServer,
    served: ServedModel,
) -> None:
    first = submit(jobs_client, "key-1").get_json()["id"]
    submit(jobs_client, "key-2", model="pets")
    served.card = replace(served.card, name="solar")
    others = replace(settings, model_names=("solar", "pets"))
    later = app_of(others, model_client, redis_server.url).test_client()

    assert submit(later, "key-1").get_json()["id"] == first
    assert submit(later, "key-1").get_json()["model"] == "pets"
    assert submit(later, "key-2").status_code == 409


def test_job_is_found_again(jobs_client: FlaskClient) -> None:
    job = submit(jobs_client).get_json()["id"]

    listed = jobs_client.get("/v1/jobs").get_json()["jobs"]

    assert [each["id"] for each in listed] == [job]
    assert jobs_client.get(f"/v1/jobs/{job}").get_json()["id"] == job


@pytest.mark.parametrize(
    ("clip", "bound"), [(None, 0.95), ("off", None), (0.8, 0.8), ("0.8", 0.8)]
)
def test_clip_is_the_cards_unless_given(
    jobs_client: FlaskClient, clip: object, bound: float | None
) -> None:
    assert submit(jobs_client, clip=clip).get_json()["clip"] == bound


def test_submission_is_a_conflict_until_it_is_there(
    jobs_client: FlaskClient,
) -> None:
    job = submit(jobs_client).get_json()["id"]

    response = jobs_client.get(f"/v1/jobs/{job}/submission.csv")

    assert response.status_code == 409
    assert response.get_json()["code"] == "job_not_finished"


def test_submission_has_a_strong_etag(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    job = submit(jobs_client).get_json()["id"]
    csv = finish(settings, job)
    path = f"/v1/jobs/{job}/submission.csv"

    with jobs_client.get(path) as first:
        tag = first.headers["ETag"]
        assert (first.status_code, first.data) == (200, csv.encode())
        assert first.mimetype == "text/csv"

    assert tag.startswith('"')
    with jobs_client.get(path, headers={"If-None-Match": tag}) as again:
        assert (again.status_code, again.data) == (304, b"")


def test_same_key_gives_the_same_job(
    jobs_client: FlaskClient, served: ServedModel
) -> None:
    first = submit(jobs_client, "order-1").get_json()["id"]
    served.versions = (1, 2)

    assert submit(jobs_client, "order-1").get_json()["id"] == first
    assert submit(jobs_client, "order-2").get_json()["id"] != first


def test_same_key_for_another_job_is_a_conflict(jobs_client: FlaskClient) -> None:
    submit(jobs_client, "order-1")

    response = submit(jobs_client, "order-1", format="full")

    assert response.status_code == 409
    assert response.get_json()["code"] == "idempotency_conflict"


def test_cancelled_job_can_be_retried(jobs_client: FlaskClient) -> None:
    job = submit(jobs_client).get_json()["id"]

    cancelled = jobs_client.post(f"/v1/jobs/{job}/cancel").get_json()
    retried = jobs_client.post(f"/v1/jobs/{job}/retry").get_json()

    assert cancelled["state"] == "cancelled"
    assert retried["state"] == "queued"


MEMBERS: dict[str, tuple[dict[str, Any], int, str]] = {
    "unknown member": ({"colour": "red"}, 422, "invalid_parameter"),
    "no input": ({"input": None}, 422, "invalid_parameter"),
    "input is no text": ({"input": 7}, 422, "invalid_parameter"),
    "folder above": ({"input": "../test"}, 422, "invalid_input"),
    "absolute folder": ({"input": "/etc"}, 422, "invalid_input"),
    "no such folder": ({"input": "nothing"}, 422, "invalid_input"),
    "NUL": ({"input": "te\0st"}, 422, "invalid_input"),
    "unknown format": ({"format": "xml"}, 422, "invalid_parameter"),
    "unknown choice": ({"on_unreadable": "ignore"}, 422, "invalid_parameter"),
    "share above all": ({"max_unreadable": "101%"}, 422, "invalid_parameter"),
    "share as a number": ({"max_unreadable": 0.05}, 422, "invalid_parameter"),
    "negative count": ({"max_unreadable": -1}, 422, "invalid_parameter"),
    "count is a truth value": ({"max_unreadable": True}, 422, "invalid_parameter"),
    "count is a word": ({"max_unreadable": "some"}, 422, "invalid_parameter"),
    "unknown priority": ({"priority": "urgent"}, 422, "invalid_parameter"),
    "unknown label": ({"positive": "cow"}, 422, "invalid_parameter"),
    "clip is a truth value": ({"clip": True}, 422, "invalid_parameter"),
    "clip is a list": ({"clip": []}, 422, "invalid_parameter"),
    "clip is enormous": ({"clip": 10**400}, 422, "invalid_parameter"),
    "clip is too low": ({"clip": 0.5}, 422, "invalid_parameter"),
    "unknown model": ({"model": "cows"}, 404, "model_not_found"),
}


@pytest.mark.parametrize("asked", [1, "1", "40%"])
def test_job_says_how_many_photos_may_be_unreadable(
    jobs_client: FlaskClient, asked: object
) -> None:
    job = submit(jobs_client, max_unreadable=asked).get_json()

    assert (job["max_unreadable"], job["progress"]["total"]) == (1, 3)


@pytest.mark.parametrize("case", MEMBERS)
def test_job_is_refused(
    shared_client: FlaskClient, shared_settings: ServiceSettings, case: str
) -> None:
    members, status, code = MEMBERS[case]

    response = submit(shared_client, **members)

    problem = response.get_json()
    assert (response.status_code, problem["code"]) == (status, code)
    check_no_job(shared_client, shared_settings)


BODIES = {
    "no JSON": (b"{", "application/json", 400, "bad_request"),
    "deep JSON": (b"[" * 60_000, "application/json", 400, "bad_request"),
    "a list": (b"[]", "application/json", 422, "invalid_parameter"),
    "another type": (b"{}", "text/plain", 415, "unsupported_media_type"),
    "too large": (b" " * 70_000, "application/json", 413, "too_large"),
}


@pytest.mark.parametrize("case", BODIES)
def test_body_is_refused(shared_client: FlaskClient, case: str) -> None:
    body, kind, status, code = BODIES[case]

    response = shared_client.post("/v1/jobs", data=body, content_type=kind)

    assert (response.status_code, response.get_json()["code"]) == (status, code)


@pytest.mark.parametrize("key", ["", "a b", "x" * 201, "é"])
def test_impossible_idempotency_key_is_refused(
    shared_client: FlaskClient, key: str
) -> None:
    assert submit(shared_client, key).get_json()["code"] == "invalid_parameter"


@pytest.mark.parametrize(
    ("method", "path"),
    [
        ("GET", "/v1/jobs/nothing"),
        ("GET", "/v1/jobs/nothing/submission.csv"),
        ("POST", "/v1/jobs/nothing/cancel"),
        ("POST", "/v1/jobs/nothing/retry"),
        ("DELETE", "/v1/jobs/nothing"),
        ("GET", "/v1/jobs/%2e%2e"),
    ],
)
def test_unknown_job_is_not_found(
    shared_client: FlaskClient, method: str, path: str
) -> None:
    response = shared_client.open(path, method=method)

    assert response.status_code == 404
    assert response.get_json()["code"] == "job_not_found"


def test_no_job_is_queued_while_redis_is_away(
    jobs_client: FlaskClient, redis_server: RedisServer
) -> None:
    redis_server.kill()

    response = submit(jobs_client)

    assert response.status_code == 503
    assert response.get_json()["code"] == "queue_unavailable"
    assert int(response.headers["Retry-After"]) > 0


def test_no_job_is_pinned_while_the_model_is_away(
    jobs_client: FlaskClient, served: ServedModel
) -> None:
    served.stop()

    assert submit(jobs_client).get_json()["code"] == "model_not_ready"


def test_priority_is_told_and_is_normal_unless_asked(jobs_client: FlaskClient) -> None:
    answers = [submit(jobs_client), submit(jobs_client, priority="low")]

    assert [each.get_json()["priority"] for each in answers] == ["normal", "low"]


def test_job_that_is_over_is_deleted(jobs_client: FlaskClient) -> None:
    job = submit(jobs_client).get_json()["id"]
    early = jobs_client.delete(f"/v1/jobs/{job}")
    jobs_client.post(f"/v1/jobs/{job}/cancel")

    deleted = jobs_client.delete(f"/v1/jobs/{job}")

    assert (early.status_code, early.get_json()["code"]) == (409, "job_not_over")
    assert (deleted.status_code, deleted.data) == (204, b"")
    assert jobs_client.get(f"/v1/jobs/{job}").status_code == 404
    assert jobs_client.get("/v1/jobs").get_json() == {"jobs": [], "next": None}


def test_job_is_deleted_while_redis_is_away(
    jobs_client: FlaskClient, redis_server: RedisServer
) -> None:
    job = submit(jobs_client).get_json()["id"]
    jobs_client.post(f"/v1/jobs/{job}/cancel")
    redis_server.kill()

    assert jobs_client.delete(f"/v1/jobs/{job}").status_code == 204


def test_deleted_key_starts_another_job(
    jobs_client: FlaskClient, settings: ServiceSettings
) -> None:
    job = submit(jobs_client, "order-1").get_json()["id"]
    finish(settings, job)
    jobs_client.delete(f"/v1/jobs/{job}")

    assert submit(jobs_client, "order-1").get_json()["state"] == "queued"


def test_pages_follow_their_links(jobs_client: FlaskClient) -> None:
    made = [submit(jobs_client).get_json()["id"] for _ in range(5)]
    path, seen = "/v1/jobs?limit=2", []
    while path:
        page = jobs_client.get(path)
        seen.append([job["id"] for job in page.get_json()["jobs"]])
        link = page.headers.get("Link", "")
        path = link.removeprefix("<").partition(">")[0]
        assert bool(link) == (page.get_json()["next"] is not None)

    assert seen == [made[:2:-1], made[2:0:-1], made[:1]]


def test_jobs_are_chosen_by_state(jobs_client: FlaskClient) -> None:
    made = [submit(jobs_client).get_json()["id"] for _ in range(4)]
    jobs_client.post(f"/v1/jobs/{made[0]}/cancel")
    jobs_client.post(f"/v1/jobs/{made[2]}/cancel")

    first = jobs_client.get("/v1/jobs?state=cancelled&limit=1")
    second = jobs_client.get(first.headers["Link"][1:].partition(">")[0])

    found = [page.get_json()["jobs"][0]["id"] for page in (first, second)]
    assert found == [made[2], made[0]]
    assert second.get_json()["next"] is None


def test_jobs_are_chosen_by_the_beginning_of_their_id(jobs_client: FlaskClient) -> None:
    made = [submit(jobs_client).get_json()["id"] for _ in range(3)]

    found = jobs_client.get(f"/v1/jobs?prefix={made[1][:12]}&limit=1")
    everyone = jobs_client.get("/v1/jobs?prefix=&limit=1")

    assert [job["id"] for job in found.get_json()["jobs"]] == [made[1]]
    assert found.get_json()["next"] is None
    assert (
        "prefix=&" in everyone.headers["Link"] or "prefix=>" in everyone.headers["Link"]
    )


@pytest.mark.parametrize(
    "query",
    ["limit=0", "limit=501", "limit=x", "limit=1&limit=2", "after=x", "state=y", "a=b"],
)
def test_impossible_page_is_refused(shared_client: FlaskClient, query: str) -> None:
    response = shared_client.get(f"/v1/jobs?{query}")

    assert response.status_code == 422
    assert response.get_json()["code"] == "invalid_parameter"


def test_no_job_is_taken_in_without_room_on_the_disk(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
) -> None:
    limits = JobLimits(min_free_bytes=2**60)
    client = app_of(
        settings, model_client, redis_server.url, limits=limits
    ).test_client()

    by_folder = submit(client)
    by_archive = client.post("/v1/jobs", data=b"PK", content_type="application/zip")

    for response in (by_folder, by_archive):
        assert response.status_code == 507
        assert response.get_json()["code"] == "insufficient_storage"
        assert "disk has no room" in response.get_json()["detail"]
    assert not settings.runs_dir.exists()
    ready = client.get("/readyz").get_json()
    assert ready["status"] == "degraded"
    assert ready["parts"]["disk"]["code"] == "insufficient_storage"


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
    settings = replace(settings, redis_url=redis_server.url)
    keys = tmp_path / "keys"
    secrets = {
        name: new_key(keys, name, scope)
        for name, scope in (("ann", "jobs"), ("bob", "jobs"), ("ops", "admin"))
    }
    guarded, unguarded = (
        protected_app(settings, model_client, AuthSettings(api_keys_file=path))
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


def test_job_of_another_key_is_like_one_that_never_was(site: Site) -> None:
    job = site.finish(site.job_of("ann"))
    none = "0" * len(job)

    for path in READS:
        foreign = site.ask("bob", f"/v1/jobs/{job}{path}").get_json()
        absent = site.ask("bob", f"/v1/jobs/{none}{path}").get_json()

        assert (foreign["status"], foreign["code"]) == (404, "job_not_found"), path
        assert foreign["detail"].replace(job, none) == absent["detail"]
        for name in ("ann", "ops"):
            with site.ask(name, f"/v1/jobs/{job}{path}") as own:
                assert own.status_code != 403
                assert b"job_not_found" not in own.data


def test_job_of_another_key_cannot_be_changed(site: Site) -> None:
    job = site.job_of("ann")

    for method, path in CHANGES:
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

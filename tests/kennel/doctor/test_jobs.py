"""`kennel doctor`: half an upgrade, wrong clocks, versions that are not served."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from redis import Redis

from kennel.doctor.deployment import CheckResult
from models import VERSION
from models.wire.config import default_entry, render_entries
from tests.fake_model_server import CARD, FakeModelServer
from tests.kennel.doctor.test_doctor import findings, publish
from tests.kennel.scripted_api import says, scripted
from tests.processes import wait_until
from tests.worker.world import World, request

QUEUE = "rq:queue:kennel"


def jobs(world: World) -> dict[str, CheckResult]:
    return findings(world.env(), "jobs")


def test_workers_of_this_version_with_good_clocks_are_sound(world: World) -> None:
    world.start_worker()
    world.start_worker()
    wait_until(lambda: jobs(world)["workers"].seen.startswith("2 on"), "two workers")

    found = jobs(world)
    assert found["versions"].verdict == found["worker clocks"].verdict == "ok"
    assert found["oldest"].seen == "nothing waits"


@pytest.mark.parametrize(
    ("field", "value", "check", "verdict"),
    [
        ("kennel_version", "0.0.9", "versions", "warning"),
        ("kennel_redis_clock", "1600000000.5", "worker clocks", "failed"),
        ("kennel_redis_clock", "none", "worker clocks", "unchecked"),
    ],
)
def test_worker_that_is_different_is_named(
    world: World, field: str, value: str, check: str, verdict: str
) -> None:
    world.start_worker()
    wait_until(lambda: "versions" in jobs(world), "a worker")
    with Redis.from_url(world.redis.url) as redis:
        [key] = redis.keys("rq:worker:*")
        redis.hset(key, field, value)

    assert jobs(world)[check].verdict == verdict
    assert jobs(world)[check].remedy


def test_work_that_waits_for_long_is_told(world: World) -> None:
    world.photos_of(3)
    world.queue.submit(request())
    fresh = jobs(world)["oldest"]
    with Redis.from_url(world.redis.url) as redis:
        first = redis.lindex(QUEUE, 0)
        assert isinstance(first, bytes)
        redis.hset(f"rq:job:{first.decode()}", "enqueued_at", "2026-01-01T00:00:00Z")

    assert fresh.verdict == "ok"
    assert jobs(world)["oldest"].verdict == "warning"


@pytest.mark.parametrize(
    ("published", "served", "verdict"),
    [((1, 2), (1, 2), "ok"), ((1, 2), (1,), "warning"), ((1,), (1, 2), "warning")],
)
def test_what_is_published_has_to_be_served(
    tmp_path: Path,
    model_server: FakeModelServer,
    published: tuple[int, ...],
    served: tuple[int, ...],
    verdict: str,
) -> None:
    for version in published:
        publish(tmp_path, version)
    model_server.versions = served
    env = {"MODELS_DIR": str(tmp_path), "MODEL_SERVER": model_server.target}

    found = findings(env, "model-server")

    assert found["pets loaded"].verdict == verdict


def test_label_that_does_not_answer_is_told(
    tmp_path: Path, model_server: FakeModelServer
) -> None:
    publish(tmp_path)
    entry = replace(default_entry(CARD.name, Path("/models")), labels=(("canary", 1),))
    (tmp_path / "models.config").write_text(render_entries([entry]))
    env = {"MODELS_DIR": str(tmp_path), "MODEL_SERVER": model_server.target}

    found = findings(env, "model-server")

    assert found["pets canary"].verdict == "failed"
    assert "kennel label pets canary=1" in found["pets canary"].remedy


@pytest.mark.parametrize(("version", "verdict"), [(VERSION, "ok"), ("9", "warning")])
def test_api_of_another_version_is_told(version: str, verdict: str) -> None:
    with scripted(says({"status": "ready", "info": {"version": version}})) as api:
        found = findings({"KENNEL_URL": api.url}, "api")

    assert found["version"].verdict == verdict
    assert found["ready"].verdict == "ok"


def test_disk_of_the_models_is_looked_at(tmp_path: Path) -> None:
    found = findings({"KENNEL_HOME": str(tmp_path)}, "folders")

    assert "free" in found["models room"].seen

"""KEDA's scaler reads the work list and computes the number of workers."""

from __future__ import annotations

from typing import Any

import pytest
from redis import Redis
from rq import Queue
from rq.registry import StartedJobRegistry

from tests.conftest import RedisServer
from tests.deploy.manifests import DEPLOY, Manifest, find, render
from worker.dispatch import SHARDS_PER_WORKER, SMALLEST_WINDOW
from worker.worklist import QUEUE_NAME


@pytest.fixture
def scaling() -> Manifest:
    spec: Manifest = find(render("cpu"), "ScaledObject", "worker")["spec"]
    return spec


@pytest.fixture
def keys(scaling: Manifest) -> dict[str, str]:
    return {each["name"]: each["metadata"]["listName"] for each in scaling["triggers"]}


def test_the_keys_are_those_of_the_queue(
    keys: dict[str, str], redis_server: RedisServer
) -> None:
    connection = Redis.from_url(redis_server.url)
    queue = Queue(QUEUE_NAME, connection=connection)

    working = StartedJobRegistry(queue=queue).key
    connection.close()
    assert keys == {"waiting": queue.key, "working": working}


def test_our_user_of_redis_may_count_both(
    keys: dict[str, str], redis_server: RedisServer
) -> None:
    rules = (DEPLOY / "redis/rules").read_text().split()
    with Redis.from_url(redis_server.url) as admin:
        admin.execute_command("ACL", "SETUSER", "kennel", "on", ">chosen", *rules)
        admin.rpush(keys["waiting"], "one", "two")
        admin.zadd(keys["working"], {"three": 1})
    url = redis_server.url.replace("//", "//kennel:chosen@")

    # KEDA asks in a script, for the type and then for the size.
    script = """
        local kind = redis.call('type', KEYS[1]).ok
        return redis.call(kind == 'zset' and 'zcard' or 'llen', KEYS[1])
    """
    with Redis.from_url(url) as user:
        counts = {name: user.eval(script, 1, key) for name, key in keys.items()}

    assert counts == {"waiting": 2, "working": 1}


def test_the_maximum_is_reached_while_there_is_work(scaling: Manifest) -> None:
    most = scaling["maxReplicaCount"]

    assert settled(scaling, shards=1000, workers=scaling["minReplicaCount"]) == most


def test_workers_go_when_there_is_nothing_left_for_them(scaling: Manifest) -> None:
    most, fewest = scaling["maxReplicaCount"], scaling["minReplicaCount"]

    assert settled(scaling, shards=2, workers=most) == 2
    assert settled(scaling, shards=0, workers=most) == fewest


def settled(scaling: Manifest, shards: int, workers: int) -> int:
    """The number of workers that KEDA arrives at while *shards* are left."""
    modifiers: dict[str, Any] = scaling["advanced"]["scalingModifiers"]
    assert modifiers["formula"] == "waiting + working"
    for _ in range(10):
        window = max(SMALLEST_WINDOW, SHARDS_PER_WORKER * workers)
        live = min(shards, window)
        wanted = -(-live // int(modifiers["target"]))
        workers = min(
            max(wanted, scaling["minReplicaCount"]), scaling["maxReplicaCount"]
        )
    return workers

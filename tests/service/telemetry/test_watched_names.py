"""Alert rules and dashboard use only metrics that exist."""

from __future__ import annotations

import re

import pytest
from flask.testing import FlaskClient
from redis import Redis

from service.auth.guard import OPEN, listed_need
from service.auth.keys import PREDICT
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.deploy.prometheus import metric_names, rules, shown_expressions
from tests.service.telemetry.scrape import Scrape, scrape
from worker.reconciler import reconcile
from worker.worklist import WorkList

PROMETHEUS_OWN = {"up"}
TENSORFLOW_SERVING = {
    ":tensorflow:serving:request_count",
    ":tensorflow:serving:runtime_latency_bucket",
}
"""Of those that its monitoring/prometheus/metrics lists."""

_ENDS = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


def sample_names(seen: Scrape) -> set[str]:
    """The names of all samples that there can be."""
    return {
        f"{family.name}{end}"
        for family in seen.families
        for end in _ENDS.get(family.type, ("",))
    }


@pytest.fixture
def seen(
    jobs_client: FlaskClient, redis_server: RedisServer, settings: ServiceSettings
) -> Scrape:
    """A scrape while Redis is there and the reconciler has looked."""
    reconcile(settings.runs_dir, WorkList(redis_server.url))
    with Redis.from_url(redis_server.url) as connection:
        connection.sadd("rq:workers:kennel", "rq:worker:a")
        connection.hset("rq:worker:a", "last_heartbeat", "2026-01-01T00:00:00.000000Z")
    return scrape(jobs_client)


def test_every_metric_that_is_used_exists(seen: Scrape) -> None:
    recorded = {rule["record"] for rule in rules("record")}
    expressions = [rule["expr"] for kind in ("alert", "record") for rule in rules(kind)]

    asked = metric_names([*expressions, *shown_expressions()])

    known = sample_names(seen) | recorded | PROMETHEUS_OWN | TENSORFLOW_SERVING
    assert asked - known == set()
    assert len(asked) > 40


def test_prediction_rules_watch_every_prediction_route(client: FlaskClient) -> None:
    [pattern] = {
        found
        for rule in rules("record")
        for found in re.findall(r'http_\w+{route=~"([^"]*)"', rule["expr"])
    }
    routes = list(client.application.url_map.iter_rules())

    predicting = {
        rule.rule
        for rule in routes
        if "POST" in (rule.methods or ())
        and (listed_need(rule.endpoint) or OPEN).scope == PREDICT
        and rule.endpoint != "open-inference.index"  # lists what is there
    }
    assert predicting
    assert predicting == {
        rule.rule for rule in routes if re.fullmatch(pattern, rule.rule)
    }

"""The queue hears of online traffic, at most once a second; nobody waits for that."""

from __future__ import annotations

import threading
import time

from flask.testing import FlaskClient

from models.errors import QueueUnavailableError
from service.predictions.traffic_notice import TrafficNotice
from tests.conftest import RedisServer
from tests.pictures import grey
from tests.worker.world import wait_until
from worker.online import OnlineTraffic


def test_many_requests_are_told_of_once() -> None:
    told, calls = threading.Event(), list[float]()

    def tell() -> None:
        calls.append(time.monotonic())
        told.set()

    notice = TrafficNotice(tell)
    notice.note()
    assert told.wait(10)
    for _ in range(1000):
        notice.note()

    assert len(calls) == 1


def test_queue_that_is_away_holds_nobody_up() -> None:
    asked, released = threading.Event(), threading.Event()

    def tell() -> None:
        asked.set()
        released.wait(10)
        raise QueueUnavailableError("Redis is away")

    notice = TrafficNotice(tell)
    notice.note()
    assert asked.wait(10)
    began = time.monotonic()
    notice.note()
    released.set()

    assert time.monotonic() - began < 1


def test_prediction_tells_the_workers(
    jobs_client: FlaskClient, redis_server: RedisServer
) -> None:
    jobs_client.post("/v1/predict", data=grey(100), content_type="image/png")

    wait_until(OnlineTraffic(redis_server.url).is_present, 10)

"""Admission: expected waits learnt from past answers; workers learn of traffic."""

from __future__ import annotations

import threading
import time
from concurrent.futures import ThreadPoolExecutor

import pytest
from flask import Flask
from flask.testing import FlaskClient
from redis import Redis

from models.errors import QueueUnavailableError
from models.wire.messages import ModelRef
from service.http.budget import Budget
from service.http.errors import OverloadedError
from service.predict import admission
from service.predict.admission import (
    Admission,
    Reception,
    Throughput,
    TrafficNotice,
)
from tests.conftest import RedisServer
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel
from worker.online import OnlineTraffic
from worker.yielding import PRESENT_SECONDS


def run(drain: Throughput, start: float, images: int, seconds: float) -> float:
    """Answer *images*, that come together, one after the other in *seconds* each."""
    drain.enter(images, start)
    for number in range(1, images + 1):
        drain.leave(1, start + number * seconds, answered=True)
    return start + images * seconds


def test_wait_is_images_in_work_over_their_rate() -> None:
    drain = Throughput()
    now = run(drain, 0.0, 64, 0.1)

    assert drain.seconds_for(64, now) == pytest.approx(6.4, rel=0.2)


def test_idle_time_is_not_slowness() -> None:
    drain = Throughput()
    busy = run(drain, 0.0, 64, 0.1)
    before = drain.seconds_for(64, busy)

    assert drain.seconds_for(64, busy + 1000.0) == before


def test_nothing_known_is_no_wait() -> None:
    drain = Throughput()
    drain.enter(100, 0.0)

    assert drain.seconds_for(100, 60.0) == 0.0


def test_one_batch_may_be_answered_as_quickly_as_one_image() -> None:
    drain = Throughput()
    now = run(drain, 0.0, 1, 1.0)

    assert drain.seconds_for(32, now) == pytest.approx(2.0, rel=0.1)
    assert drain.seconds_for(33, now) == pytest.approx(33.0, rel=0.1)


def test_hanging_model_server_is_noticed_and_forgiven() -> None:
    drain = Throughput()
    now = run(drain, 0.0, 100, 0.01)
    quick = drain.seconds_for(33, now)

    drain.enter(33, now)
    hung = drain.seconds_for(33, now + 20.0)
    drain.leave(33, now + 20.0, answered=False)
    back = run(drain, now + 20.0, 500, 0.01)

    assert hung > 10 * quick
    assert drain.seconds_for(33, back) < 3 * quick


def test_places_are_free_again_after_an_error() -> None:
    admission = Admission(1)

    for _ in range(2):
        with pytest.raises(ZeroDivisionError), admission.enter(1, Budget(1.0)):
            raise ZeroDivisionError

    admission.check_room(1.0)


@pytest.mark.parametrize(("wait_seconds", "header"), [(0.0, 1), (1.2, 2), (1000.0, 30)])
def test_refusal_says_when_to_try_again(wait_seconds: float, header: int) -> None:
    assert OverloadedError("busy", wait_seconds).headers == {"Retry-After": str(header)}


def test_many_requests_are_told_of_once() -> None:
    told, calls = threading.Event(), list[float]()

    def tell() -> None:
        calls.append(time.monotonic())
        told.set()

    notice = TrafficNotice(tell, lambda: False)
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

    notice = TrafficNotice(tell, lambda: False)
    notice.note()
    assert asked.wait(10)
    began = time.monotonic()
    notice.note()
    released.set()

    assert time.monotonic() - began < 1


def test_request_that_lasts_is_told_of_again_until_it_is_answered(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(admission, "NOTICE_SECONDS", 0.01)
    calls, in_work = list[float](), threading.Event()
    in_work.set()
    notice = TrafficNotice(lambda: calls.append(time.monotonic()), in_work.is_set)

    notice.note()
    wait_until(lambda: len(calls) > 5, "more than one notice")
    in_work.clear()
    wait_until(lambda: not is_told(calls), "silence")

    notice.note()
    wait_until(lambda: is_told(calls), "a notice")


def is_told(calls: list[float]) -> bool:
    """Whether anything is told within ten times the pause."""
    before = len(calls)
    time.sleep(0.1)
    return len(calls) > before


def is_noted(redis_server: RedisServer) -> bool:
    return OnlineTraffic(redis_server.url).quiet_seconds() < PRESENT_SECONDS


def test_prediction_tells_the_workers(
    jobs_client: FlaskClient, redis_server: RedisServer
) -> None:
    jobs_client.post("/v1/predict", data=grey(100), content_type="image/png")

    wait_until(lambda: is_noted(redis_server), "a notice")


def test_workers_hear_of_a_request_for_as_long_as_it_waits(
    jobs_client: FlaskClient, served: ServedModel, redis_server: RedisServer
) -> None:
    go_on = threading.Event()
    served.before_answer = lambda: go_on.wait(30)
    with ThreadPoolExecutor(1) as pool:
        answer = pool.submit(post_image, jobs_client, grey(9))
        try:
            wait_until(lambda: is_noted(redis_server), "a notice")
            Redis.from_url(redis_server.url).flushall()
            wait_until(lambda: is_noted(redis_server), "a notice")
        finally:
            served.before_answer = None
            go_on.set()

    assert answer.result().status_code == 200


def test_refused_request_is_told_of_too(app: Flask) -> None:
    told = list[float]()
    admission = Admission(1)
    budget = Budget(30)
    with admission.enter(1, budget):
        time.sleep(0.01)
    reception = Reception(admission, 0.001, lambda: told.append(time.monotonic()))

    with admission.enter(1, budget), app.test_request_context():
        app.preprocess_request()
        with pytest.raises(OverloadedError):
            reception.receive(ModelRef("pets"))

    assert len(told) == 1

"""Jobs make room for people, and take all there is when nobody waits."""

from __future__ import annotations

import math
import threading
import time
from collections import deque
from dataclasses import dataclass, field
from functools import partial
from types import SimpleNamespace

import numpy as np
import pytest
from redis import Redis

from models.errors import QueueUnavailableError
from models.images.codec import Pixels
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef, Prediction
from tests.conftest import RedisServer
from tests.worker.world import SHARD_SIZE, World, oracle, request, wait_until
from worker import yielding
from worker.online import OnlineTraffic
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos
from worker.yielding import (
    ANSWER_SECONDS,
    FULL_LOAD,
    PRESENT_SECONDS,
    REST,
    Courtesy,
    Load,
)

MODEL = ModelRef("pets", version=1)


@dataclass
class People:
    """Somebody waits, or nobody; every worker gets a turn after *refusals*.

    Attributes:
        quiet: seconds since somebody was there.
    """

    quiet: float = 0
    refusals: int = 0
    rests: list[float] = field(default_factory=list)

    def quiet_seconds(self) -> float:
        return self.quiet

    def take_turn(self, seconds: float) -> bool:
        self.refusals -= 1
        return self.refusals < 0

    def rest(self, seconds: float) -> None:
        self.rests.append(seconds)


def tell_at(
    clock: list[float], moment: float, batch: Pixels, model: ModelRef
) -> Prediction:
    """An answer that is there at that *moment* of the *clock*."""
    clock[0] = moment
    return slow(0, batch, model)


def slow(image_seconds: float, batch: Pixels, model: ModelRef) -> Prediction:
    time.sleep(image_seconds * len(batch))
    answers = np.zeros((len(batch), 2), dtype=np.float32)
    return Prediction(answers, answers, 1)


def pixels(count: int) -> Pixels:
    return np.zeros((count, 1, 1, 3), dtype=np.uint8)


def asked(pace: Courtesy, image_seconds: float) -> Load:
    """What *pace* allows after one call of a model that is so fast."""
    load = pace.load()
    pace.ask(partial(slow, image_seconds), pixels(load.images), MODEL)
    return pace.load()


def test_calls_grow_while_nobody_waits() -> None:
    pace = Courtesy(People(quiet=math.inf), lambda _: False)

    assert [asked(pace, 0.0) for _ in range(3)] == [Load(16, 2), FULL_LOAD, FULL_LOAD]


@pytest.mark.parametrize(("image_seconds", "workers"), [(0.13, 1), (0.13, 2), (1, 16)])
def test_newcomer_never_has_to_wait_for_long(
    image_seconds: float, workers: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Also while workers are alone; each has two calls, and the model does one by one."""
    clock, now = [0.0], 0.0
    monkeypatch.setattr(yielding, "time", SimpleNamespace(monotonic=lambda: clock[0]))
    paces = [Courtesy(People(quiet=math.inf), lambda _: False) for _ in range(workers)]
    line = deque((pace, pace.load().images, now) for pace in (*paces, *paces))
    waits = []
    for _ in range(50 * workers):
        pace, images, clock[0] = line.popleft()
        now += images * image_seconds
        pace.ask(partial(tell_at, clock, now), pixels(images), MODEL)
        line.append((pace, pace.load().images, now))
        waits.append(image_seconds * sum(images for _, images, _ in line))

    least = 2 * 2 * workers * image_seconds
    assert max(waits[-20 * workers :]) <= max(1.5 * ANSWER_SECONDS, least)
    assert min(waits[-20 * workers :]) >= ANSWER_SECONDS / 3


def test_slow_model_is_asked_for_little_while_people_wait() -> None:
    people = People()

    load = asked(Courtesy(people, lambda _: False), 0.03)

    assert load in (Load(8, 1), Load(4, 1))
    assert people.rests[0] == pytest.approx(REST * 0.06, rel=0.5)


def test_unknown_model_is_asked_for_two() -> None:
    assert Courtesy(People(), lambda _: False).load() == Load(2, 1)


def test_quick_model_is_asked_as_if_nobody_waited() -> None:
    pace = Courtesy(People(), lambda _: False)

    assert [asked(pace, 0.0) for _ in range(4)][-1] == FULL_LOAD


def test_calls_stay_short_without_rests_when_people_left_a_moment_ago() -> None:
    people = People(quiet=PRESENT_SECONDS, refusals=1)

    load = asked(Courtesy(people, lambda _: False), 0.03)

    assert load in (Load(8, 1), Load(4, 1))
    assert (people.refusals, people.rests) == (1, [])


def test_batches_are_full_again_when_people_are_gone() -> None:
    people = People()
    pace = Courtesy(people, lambda _: False)
    asked(pace, 0.03)
    people.quiet = math.inf

    assert [asked(pace, 0.0) for _ in range(3)][-1] == FULL_LOAD


def test_worker_waits_for_its_turn() -> None:
    people, pauses = People(refusals=3), list[float]()

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    asked(Courtesy(people, pause), 0.03)

    assert len(pauses) == 3


def test_worker_that_has_to_leave_does_not_wait() -> None:
    people = People(refusals=1000)

    asked(Courtesy(people, lambda _: True), 0.03)

    assert people.refusals == 999


def test_traffic_is_known_to_others_and_passes(redis_server: RedisServer) -> None:
    noted = OnlineTraffic(redis_server.url)

    assert OnlineTraffic(redis_server.url).quiet_seconds() == math.inf
    noted.note()
    assert OnlineTraffic(redis_server.url).quiet_seconds() < PRESENT_SECONDS
    Redis.from_url(redis_server.url).pexpire("rq:kennel:online", 20_000)
    assert OnlineTraffic(redis_server.url).quiet_seconds() == pytest.approx(40, abs=1)


def test_one_worker_has_the_turn(redis_server: RedisServer) -> None:
    first, second = OnlineTraffic(redis_server.url), OnlineTraffic(redis_server.url)

    assert first.take_turn(10)
    assert not second.take_turn(10)
    first.rest(0.001)
    wait_until(lambda: second.take_turn(10), 5)


def test_without_redis_there_is_no_traffic_and_no_turn_to_wait_for() -> None:
    traffic = OnlineTraffic("redis://127.0.0.1:1/0")

    assert traffic.quiet_seconds() == math.inf
    assert traffic.take_turn(10)
    traffic.rest(1)
    with pytest.raises(QueueUnavailableError):
        traffic.note()


def test_what_was_loaded_for_a_long_call_is_asked_for_in_short_ones(
    world: World,
) -> None:
    world.photos_of(7)
    (world.photos / "3.png").write_bytes(b"no image")
    folder, batches = LocalFolder(world.photos, "test"), list[int]()
    items = list_photos(folder).items
    loads = iter([FULL_LOAD, Load(4, 1), Load(2, 1), Load(2, 1)])

    def ask(batch: Pixels, model: ModelRef) -> Prediction:
        batches.append(len(batch))
        with ModelServerClient(world.model_server.target) as client:
            return client.predict(batch, model)

    rows = predict_items(folder, items, request(), ask, lambda: next(loads))

    assert batches == [3, 2, 2]
    assert [row.id for row in rows] == [item.id for item in items]
    assert [row.code for row in rows] == ["", "", "unsupported_image", *[""] * 4]


def test_job_beside_traffic_has_small_calls_and_the_same_csv(world: World) -> None:
    world.photos_of(2 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.batches.clear()
    world.model_server.delay_seconds = 0.06
    over = threading.Event()

    def people() -> None:
        while not over.wait(0.2):
            world.queue.note_online_traffic()

    world.queue.note_online_traffic()
    speaking = threading.Thread(target=people)
    speaking.start()
    try:
        job = world.queue.submit(request())
        world.start_worker()
        world.wait_for(job, "succeeded")
    finally:
        over.set()
        speaking.join()

    assert world.csv(job) == expected
    assert set(world.model_server.batches) <= {2, 4}

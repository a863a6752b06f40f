"""Rollout counters: none is lost while Redis is away, none costs a request."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from models.errors import QueueUnavailableError
from service.predict.predictor import ImageResults, Predictor
from service.rollout.counters import Counters, counts_key
from service.rollout.gateway import SHADOW_BYTES, Shadow, ShadowTask
from tests.conftest import RedisServer
from tests.fake_model_server import CARD
from tests.service.rollout.rollouts_file import ROLLOUT
from worker.queue import SharedCounts

KEY = counts_key(ROLLOUT)
ONCE_AN_HOUR = 3600.0


def test_counts_wait_while_redis_is_away(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    counters = Counters(counts, ONCE_AN_HOUR)
    counters.add(ROLLOUT, Counter({"canary.requests": 2}))
    redis_server.kill()

    with pytest.raises(QueueUnavailableError):
        counters.flush()
    counters.add(ROLLOUT, Counter({"canary.requests": 1}))
    redis_server.start()
    counters.flush()
    counters.flush()

    assert counts.read(KEY) == {"canary.requests": 3}


def test_processes_count_together(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    for _ in range(2):
        counters = Counters(SharedCounts(redis_server.url), ONCE_AN_HOUR)
        counters.add(ROLLOUT, Counter({"stable.label.cat": 5}))
        counters.flush()

    assert counts.read(KEY) == {"stable.label.cat": 10}


def test_large_request_is_not_asked_about_twice(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    counters = Counters(counts, ONCE_AN_HOUR)
    no_predictor = cast(Predictor, None)
    answer = ImageResults(CARD, (0,), None)

    Shadow(no_predictor, counters).offer(
        ShadowTask(ROLLOUT, [bytes(SHADOW_BYTES + 1)], answer)
    )
    counters.flush()

    assert counts.read(KEY) == {"pairs.dropped": 1}

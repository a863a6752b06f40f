"""Counts on their way: none is lost to a Redis that is away, none costs a request."""

from __future__ import annotations

from collections import Counter
from typing import cast

import pytest

from models.errors import QueueUnavailableError
from service.predict.predictor import ImageResults, Predictor
from service.rollout.counters import Counters, counts_key
from service.rollout.gateway import MAX_BYTES, Shadow, ShadowTask
from tests.conftest import RedisServer
from tests.fake_model_server import CARD
from tests.service.rollout.decided import ROLLOUT
from worker.queue import SharedCounts

KEY = counts_key(ROLLOUT)
ONCE_AN_HOUR = 3600.0


def test_counts_wait_while_redis_is_away(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    ledger = Counters(counts, ONCE_AN_HOUR)
    ledger.add(ROLLOUT, Counter({"canary.requests": 2}))
    redis_server.kill()

    with pytest.raises(QueueUnavailableError):
        ledger.flush()
    ledger.add(ROLLOUT, Counter({"canary.requests": 1}))
    redis_server.start()
    ledger.flush()
    ledger.flush()

    assert counts.read(KEY) == {"canary.requests": 3}


def test_processes_count_together(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    for _ in range(2):
        ledger = Counters(SharedCounts(redis_server.url), ONCE_AN_HOUR)
        ledger.add(ROLLOUT, Counter({"stable.label.cat": 5}))
        ledger.flush()

    assert counts.read(KEY) == {"stable.label.cat": 10}


def test_large_request_is_not_asked_about_twice(redis_server: RedisServer) -> None:
    counts = SharedCounts(redis_server.url)
    ledger = Counters(counts, ONCE_AN_HOUR)
    nobody = cast(Predictor, None)
    answer = ImageResults(CARD, (0,), None)

    Shadow(nobody, ledger).offer(ShadowTask(ROLLOUT, [bytes(MAX_BYTES + 1)], answer))
    ledger.flush()

    assert counts.read(KEY) == {"pairs.dropped": 1}

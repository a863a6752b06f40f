"""The worker's health check: registered in Redis until the worker leaves."""

from __future__ import annotations

import pytest
from redis import Redis
from rq import Queue, Worker

from tests.conftest import RedisServer
from worker.alive import is_registered, main


def test_a_worker_of_this_host_is_alive_until_it_leaves(
    redis_server: RedisServer, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("REDIS_URL", redis_server.url)
    with Redis.from_url(redis_server.url) as connection:
        worker = Worker([Queue("kennel", connection=connection)], connection=connection)
        assert main() == 1
        worker.register_birth()  # type: ignore[no-untyped-call]
        assert main() == 0
        assert not is_registered(connection, "another-host")
        worker.register_death()  # type: ignore[no-untyped-call]

    assert main() == 1


def test_without_redis_nobody_is_alive(
    redis_server: RedisServer,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    redis_server.kill()
    monkeypatch.setenv("REDIS_URL", redis_server.url)

    assert main() == 1
    assert "connect" in capsys.readouterr().err.lower()

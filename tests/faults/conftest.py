"""Fixtures of the fault matrix."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.fake_model_server import FakeModelServer
from tests.faults.redis_servers import LocalStackRedis, running
from tests.worker.world import World


@pytest.fixture
def world(
    tmp_path: Path, redis_server: RedisServer, model_server: FakeModelServer
) -> Iterator[World]:
    made = World(tmp_path, redis_server, model_server)
    yield made
    made.close()


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[RedisServer]:
    with running(LocalStackRedis(tmp_path / "redis")) as server:
        yield server

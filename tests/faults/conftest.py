"""Fixtures of the fault matrix."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.conftest import RedisServer
from tests.faults.ordeal import Ordeal
from tests.faults.redis_servers import LocalStackRedis, running
from tests.faults.scripted_model import ScriptedModelServer
from tests.worker.world import World


@pytest.fixture(autouse=True)
def _on_linux() -> None:
    if sys.platform != "linux":
        pytest.skip("reads /proc and uses Linux's parent death signal")


@pytest.fixture
def model_server() -> Iterator[ScriptedModelServer]:
    with ScriptedModelServer() as server:
        yield server


@pytest.fixture
def confined(tmp_path: Path) -> Iterator[RedisServer]:
    with running(LocalStackRedis(tmp_path / "redis")) as server:
        yield server


@pytest.fixture
def ordeal(world: World) -> Iterator[Ordeal]:
    made = Ordeal(world)
    yield made
    made.close()

"""F10, F35: the local stack's Redis has a damaged file or dies, or the stack dies."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis

from kennel.stack.redis import redis_server_program, wait_for_redis, write_redis_config
from tests.conftest import RedisServer
from tests.faults.ordeal import Ordeal, children_of, signal_all
from tests.faults.scripted_model import ScriptedModelServer
from tests.faults.test_redis_faults import appended_file
from tests.kennel.stack.test_supervisor import is_alive
from tests.processes import free_port, is_listening, wait_until
from tests.worker.world import World


class Launched:
    """A launcher's home, its Redis not yet started, and a job's world beside it."""

    def __init__(self, home: Path, model_server: ScriptedModelServer) -> None:
        self.folder = home / "redis"
        self.port = free_port()
        self.config, url = write_redis_config(self.folder, self.port)
        self.redis = RedisServer(self.folder)
        self.redis.url = url
        self.world = World(home, self.redis, model_server)

    def start(self, ordeal: Ordeal) -> None:
        ordeal.start(1, str(self.config))
        wait_for_redis(self.folder, self.redis.url, lambda: False)


@pytest.fixture
def launched(tmp_path: Path, model_server: ScriptedModelServer) -> Iterator[Launched]:
    made = Launched(tmp_path, model_server)
    yield made
    made.world.close()


@pytest.fixture
def ordeal(launched: Launched) -> Iterator[Ordeal]:
    """A job in mid-work, of whose Redis the launcher takes care."""
    made = Ordeal(launched.world)
    launched.start(made)
    made.submit()
    launched.world.model_server.delay_seconds = 0.25
    launched.world.wait_for_progress(made.job)
    yield made
    made.close()


def test_f35_redis_dies(ordeal: Ordeal) -> None:
    """It is started again with all that was queued."""
    program = Path(redis_server_program()).name
    died = ordeal.processes(program)
    signal_all(died, signal.SIGKILL)
    wait_until(lambda: ordeal.processes(program) not in ([], died), "a restart")

    ordeal.check_success()


def test_f35_launcher_dies(ordeal: Ordeal, launched: Launched) -> None:
    """Nothing of it stays, not even on Redis's port; the next one goes on."""
    family = children_of(ordeal.kept.pid)
    ordeal.kept.kill()
    ordeal.kept.wait()
    wait_until(lambda: not any(is_alive(pid) for pid in family), "the end of all")
    assert not is_listening(launched.port)
    done = ordeal.artefacts()
    launched.start(ordeal)
    ordeal.expire_heartbeats(family)

    ordeal.check_success()

    assert done.items() <= ordeal.artefacts().items()


def damaged_home(home: Path) -> tuple[Path, dict[Path, bytes]]:
    """A home whose Redis wrote a file that is damaged now, and all its files.

    What is named is the file; since version 7 its folder, whose parts belong together.
    """
    config, url = write_redis_config(home / "redis", free_port())
    server = subprocess.Popen([redis_server_program(), str(config)])
    try:
        wait_for_redis(home / "redis", url, lambda: False)
        with Redis.from_url(url) as connection:
            for number in range(100):
                connection.set(f"rq:key:{number}", "x" * 100)
    finally:
        server.terminate()
        server.wait()
    path = appended_file(home / "redis")
    with path.open("r+b") as stream:
        stream.seek(path.stat().st_size // 2)
        stream.write(b"\0" * 64)
    named = path if path.parent == home / "redis" else path.parent
    return named, appended_bytes(home)


def appended_bytes(home: Path) -> dict[Path, bytes]:
    files = (home / "redis").rglob("appendonly*")
    return {path: path.read_bytes() for path in files if path.is_file()}


def test_f10_damaged_redis_file_is_named_and_kept(tmp_path: Path) -> None:
    """`kennel up` ends with the file's name and a remedy that works."""
    path, content = damaged_home(tmp_path)
    ports = ("--port", "0", "--model-server-port", "0", "--redis-port", "0")

    up = subprocess.run(
        [sys.executable, "-m", "kennel.cli", "up", *ports, "--workers", "0"],
        env={**os.environ, "KENNEL_HOME": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert up.returncode == 1
    assert f"Redis cannot read {path}" in up.stderr
    assert f"mv {path}" in up.stderr
    assert "Traceback" not in up.stderr
    assert appended_bytes(tmp_path) == content


def test_f10_redis_starts_after_the_remedy(tmp_path: Path) -> None:
    """Without the damaged file; what was queued comes from the run directories."""
    path, _ = damaged_home(tmp_path)
    path.rename(path.with_name(path.name + ".damaged"))
    config, url = write_redis_config(tmp_path / "redis", free_port())
    server = subprocess.Popen([redis_server_program(), str(config)])
    try:
        wait_for_redis(tmp_path / "redis", url, lambda: server.poll() is not None)
    finally:
        server.terminate()
        server.wait()

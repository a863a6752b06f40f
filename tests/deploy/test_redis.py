"""Redis as its container starts it: users, durability, memory limits."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from redis import Redis
from redis.exceptions import AuthenticationError, NoPermissionError

from kennel.stack.redis import ACCESS_RULES, write_redis_config
from tests.conftest import redis_server_binary
from tests.deploy.compose_files import ROOT
from tests.processes import free_port, is_listening, wait_until

FOLDER = ROOT / "deploy/redis"
PASSWORD = "se cret"


@pytest.fixture
def port(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "password").write_text(f"{PASSWORD}\n")
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/redis-server").symlink_to(redis_server_binary())
    number = free_port()
    flags = ["--port", str(number), "--bind", "127.0.0.1", "--dir", str(tmp_path)]
    env = {
        "PATH": f"{tmp_path / 'bin'}:/usr/bin:/bin",
        "REDIS_PASSWORD_FILE": str(tmp_path / "password"),
        "RUN": str(tmp_path),
    }
    with (tmp_path / "log").open("wb") as log:
        process = subprocess.Popen(
            ["sh", str(FOLDER / "start.sh"), *flags], env=env, stdout=log
        )
    try:
        wait_until(lambda: is_listening(number), "Redis listens")
        yield number
    finally:
        process.terminate()
        process.wait(15)


def test_the_one_user_has_the_password_of_the_secret(port: int) -> None:
    with Redis(port=port, username="kennel", password=PASSWORD) as connection:
        connection.set("rq:a", "1")
        with pytest.raises(NoPermissionError):
            connection.flushall()
        with pytest.raises(NoPermissionError):
            connection.set("other:a", "1")


@pytest.mark.parametrize(("user", "password"), [("kennel", "x"), ("default", "")])
def test_nobody_else_comes_in(port: int, user: str, password: str) -> None:
    with (
        Redis(port=port, username=user, password=password) as connection,
        pytest.raises(AuthenticationError),
    ):
        connection.ping()


def test_only_the_hash_is_written(port: int, tmp_path: Path) -> None:
    assert is_listening(port)
    assert PASSWORD not in (tmp_path / "users.acl").read_text()


def test_it_is_configured_as_the_local_stack_is(tmp_path: Path) -> None:
    local, _ = write_redis_config(tmp_path, 1)
    own = ("port", "bind", "user", "dir", "logfile", "loglevel", "tcp-keepalive")
    wanted = {
        line for line in local.read_text().splitlines() if not line.startswith(own)
    }

    assert tuple((FOLDER / "rules").read_text().split()) == ACCESS_RULES
    assert wanted <= set((FOLDER / "redis.conf").read_text().splitlines())


def test_an_empty_secret_stops_the_start(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    env = {"PATH": "/usr/bin:/bin", "REDIS_PASSWORD_FILE": str(tmp_path / "empty")}
    command = ["sh", str(FOLDER / "start.sh")]
    done = subprocess.run(command, env=env, capture_output=True, text=True, check=False)

    assert done.returncode == 1
    assert "is empty: sh deploy/prepare.sh" in done.stderr

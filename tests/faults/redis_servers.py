"""Redis servers with sound and with unsound configurations."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.stack.redis import write_redis_config
from tests.conftest import RedisServer, redis_server_binary


class LocalStackRedis(RedisServer):
    """The one that `kennel up` starts: one user, which may do little."""

    def start(self) -> None:
        config, self.url = write_redis_config(self.folder, self.port)
        self._process = subprocess.Popen(
            [redis_server_binary(), str(config)], stdout=subprocess.DEVNULL
        )
        self._wait()


class ConfiguredRedis(RedisServer):
    """One with other settings than the tests' own."""

    def __init__(self, folder: Path, **settings: str) -> None:
        super().__init__(folder)
        self.settings = settings

    def options(self) -> dict[str, str]:
        return {**super().options(), **self.settings}


@contextmanager
def running(server: RedisServer) -> Iterator[RedisServer]:
    server.folder.mkdir(exist_ok=True)
    server.start()
    try:
        yield server
    finally:
        server.kill()

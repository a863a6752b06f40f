"""Whether this machine's worker still speaks: ``python -m worker.alive``.

A container's health check. RQ keeps a worker's entry in Redis for as long as it speaks.
"""

from __future__ import annotations

import os
import socket
import sys

from redis import Redis
from redis.exceptions import RedisError
from rq.worker_registration import REDIS_WORKER_KEYS

from models.errors import InvalidRequestError
from worker.connections import CONNECT_SECONDS, probing
from worker.settings import WorkerSettings


def main() -> int:
    """0 if a worker of this host is registered; the entry of the process."""
    try:
        settings = WorkerSettings.from_env(os.environ)
        with probing(settings.redis_url, CONNECT_SECONDS) as connection:
            alive = is_registered(connection, socket.gethostname())
    except (InvalidRequestError, RedisError) as error:
        sys.stderr.write(f"{error}\n")
        return 1
    return 0 if alive else 1


def is_registered(connection: Redis, host: str) -> bool:
    """Whether a worker that runs on *host* has an entry that has not run out.

    Raises:
        RedisError: Redis is away.
    """
    names = connection.smembers(REDIS_WORKER_KEYS)
    hosts = [connection.hget(name, "hostname") for name in names]
    return host.encode() in hosts


if __name__ == "__main__":
    sys.exit(main())

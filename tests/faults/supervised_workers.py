"""Workers and a reconciler under the local stack's supervisor, as a process of its own.

    python -m tests.faults.supervised_workers WORKERS [REDIS_CONFIG]

It is a process because the kernel ends children with the thread that started them.
"""

from __future__ import annotations

import os
import signal
import sys
import threading

from kennel.stack.redis import redis_server_program
from kennel.stack.supervisor import TEND_SECONDS, Child, Supervisor


def main(workers: int, redis_config: str | None = None) -> None:
    stopping = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stopping.set())
    supervisor = Supervisor(lambda line: print(line, flush=True))  # noqa: T201
    if redis_config is not None:
        redis = (redis_server_program(), redis_config)
        supervisor.start(Child("redis", redis, os.environ))
    modules = ["worker.reconciler", *["worker.main"] * workers]
    for number, module in enumerate(modules):
        command = (sys.executable, "-m", module)
        supervisor.start(Child(f"{module}-{number}", command, os.environ, 3))
    while not stopping.wait(TEND_SECONDS):
        supervisor.tend()
    supervisor.stop()


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])

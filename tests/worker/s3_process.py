"""A local S3 server that can stop and come back with its content.

    python -m tests.worker.s3_process PORT

Each line on stdin is obeyed and answered with a line: "start", "stop", "lock" (no key
opens anything), "unlock", "fail CODE" (every request is answered with this status;
0: none), "fill BUCKET PREFIX COUNT". It is a process of its own because
moto takes seconds to import and warns on the way.
"""

from __future__ import annotations

import math
import sys
from typing import Any


class Server:
    def __init__(self, port: int) -> None:
        self._port = port
        self._server: Any = None
        self._status = 0

    def start(self) -> None:
        from moto.moto_server import threaded_moto_server
        from moto.moto_server.werkzeug_app import DomainDispatcherApplication
        from moto.server import ThreadedMotoServer

        def application(backend: Any) -> Any:
            dispatcher = DomainDispatcherApplication(backend)

            def answer(environ: Any, respond: Any) -> Any:
                if not self._status:
                    return dispatcher(environ, respond)
                respond(f"{self._status} As told", [("Content-Length", "0")])
                return []

            return answer

        threaded_moto_server.DomainDispatcherApplication = application
        self._server = ThreadedMotoServer("127.0.0.1", self._port, verbose=False)
        self._server.start()

    def stop(self) -> None:
        self._server.stop()

    def lock(self) -> None:
        from moto import settings

        settings.INITIAL_NO_AUTH_ACTION_COUNT = 0

    def unlock(self) -> None:
        from moto import settings

        settings.INITIAL_NO_AUTH_ACTION_COUNT = math.inf

    def fail(self, code: str) -> None:
        self._status = int(code)

    def fill(self, bucket: str, prefix: str, count: str) -> None:
        from moto.s3.models import s3_backends

        backend = s3_backends["123456789012"]["aws"]
        for number in range(int(count)):
            backend.put_object(bucket, f"{prefix}/{number}.jpg", b"x")


def main() -> None:
    server = Server(int(sys.argv[1]))
    for line in sys.stdin:
        command, *arguments = line.split()
        getattr(server, command)(*arguments)
        sys.stdout.write("done\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

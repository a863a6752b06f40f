"""The local stack: Redis, model server, API and workers, in one terminal."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial

from kennel.api.errors import ApiError
from kennel.client import Client
from kennel.settings import KennelSettings
from kennel.stack.model_config import LocalModelConfig
from kennel.stack.ports import choose_port
from kennel.stack.processes import StackOptions, StackPlaces, stack_processes
from kennel.stack.redis_config import redis_server_program, write_redis_config
from kennel.stack.redis_start import explain_end, wait_for_redis
from kennel.stack.supervisor import POLL_SECONDS, Child, Supervisor
from models.environment import host_and_port
from models.errors import ModelUnavailableError

READY_SECONDS = 120.0
READY_ANSWER_SECONDS = 5.0


class LocalStack:
    """The processes of one stack and the files that configure them."""

    def __init__(
        self,
        settings: KennelSettings,
        options: StackOptions,
        echo: Callable[[str], None],
    ) -> None:
        """Prepare a stack; nothing is started yet.

        Raises:
            InvalidRequestError: a port is taken, or there is no redis-server.
        """
        self._settings = settings
        self._options = options
        self._supervisor = Supervisor(echo)
        self._folder = settings.home / "stack"
        self._model_config = LocalModelConfig(
            settings.models_dir, self._folder / "models.config", echo
        )
        port = choose_port(options.port, options.host, "--port")
        self.url = f"http://{host_and_port(options.host, port)}"
        self._ports = {
            "api": port,
            "model-server": choose_port(
                options.model_server_port, "127.0.0.1", "--model-server-port"
            ),
            "redis": choose_port(options.redis_port, "127.0.0.1", "--redis-port"),
        }
        self.model_server = f"127.0.0.1:{self._ports['model-server']}"
        self.runs_dir = settings.runs_dir
        self._redis_program = redis_server_program()

    def start(self) -> None:
        """Start all processes, those that others need first.

        Raises:
            InvalidRequestError: MODELS_DIR/models.config is broken.
            QueueUnavailableError: Redis does not start; the message says why.
        """
        for folder in (
            self._folder,
            self._settings.models_dir,
            self._settings.runs_dir,
            self._settings.input_root,
        ):
            folder.mkdir(parents=True, exist_ok=True)
        self._model_config.write()
        redis_url = self._start_redis()
        for child in stack_processes(self._places(redis_url), self._options.workers):
            self._supervisor.start(child)

    def tend(self) -> None:
        """Restart what has ended; tell the model server what is served now."""
        self._supervisor.tend()
        self._model_config.follow()

    def stop(self) -> None:
        """Stop all processes; jobs that are under way go on at the next start."""
        self._supervisor.stop()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when the API says that every part is ready.

        Raises:
            ModelUnavailableError: it does not within *seconds*; it says which part.
        """
        client = Client(self.url, timeout_seconds=READY_ANSWER_SECONDS, retries=0)
        deadline = time.monotonic() + seconds
        while reason := _not_ready(client):
            if time.monotonic() > deadline:
                message = f"the stack is not ready after {seconds:g} s: {reason}"
                raise ModelUnavailableError(message)
            self.tend()
            time.sleep(POLL_SECONDS)

    @contextmanager
    def tended(self) -> Iterator[None]:
        """Tend the stack in the background for the length of a block."""
        stopping = threading.Event()

        def tend() -> None:
            while not stopping.wait(POLL_SECONDS):
                self.tend()

        tending = threading.Thread(target=tend)
        tending.start()
        try:
            yield
        finally:
            stopping.set()
            tending.join()

    def pids(self) -> dict[str, int]:
        """Process ids by name, for those who want to look or to break something."""
        return self._supervisor.pids()

    def _start_redis(self) -> str:
        folder = self._settings.home / "redis"
        config, url = write_redis_config(folder, self._ports["redis"])
        command = (self._redis_program, str(config))
        explain = partial(explain_end, folder)
        self._supervisor.start(Child("redis", command, os.environ, explain=explain))
        wait_for_redis(folder, url, partial(self._supervisor.has_ended, "redis"))
        return url

    def _places(self, redis_url: str) -> StackPlaces:
        return StackPlaces(
            settings=self._settings,
            host=self._options.host,
            port=self._ports["api"],
            model_server_port=self._ports["model-server"],
            model_config=self._model_config.path,
            redis_url=redis_url,
        )


def _not_ready(client: Client) -> str:
    try:
        status = client.readiness()["status"]
    except ApiError as error:
        return str(error)
    return "" if status == "ready" else f"the API says it is {status}"

"""The local stack: Redis, model server, API and workers, in one terminal (`kennel up`).

The model server reads a local ``models.config``, which follows that of MODELS_DIR: the
published file names folders as containers see them. If the published file is lost, it
is restored from the local one: order of the models, rollbacks and labels.
"""

from __future__ import annotations

import os
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click

from export.publication.published import describe_models
from export.publication.served import (
    CONFIG_FILE,
    find_default,
    local_entries,
    restore_served,
)
from kennel.client import Client
from kennel.client.errors import ApiError
from kennel.settings import KennelSettings
from kennel.stack.redis import (
    explain_end,
    redis_server_program,
    wait_for_redis,
    write_redis_config,
)
from kennel.stack.supervisor import TEND_SECONDS, Child, Supervisor, choose_port
from models.environment import host_and_port
from models.errors import InvalidRequestError, ModelUnavailableError
from models.files import write_atomically
from models.wire.config import ModelEntry, read_model_config, render_entries

CONFIG_POLL_SECONDS: Final = 1.0
READY_SECONDS: Final = 120.0
READY_ANSWER_SECONDS: Final = 5.0


@dataclass(frozen=True)
class StackOptions:
    """Ports and sizes; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    model_server_port: int = 8500
    redis_port: int = 6379
    workers: int = 2


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
        for child in self._processes(redis_url):
            self._supervisor.start(child)

    def tend(self) -> None:
        """Restart processes that ended; update the model server's models.config."""
        self._supervisor.tend()
        self._model_config.follow()

    def stop(self) -> None:
        """Stop all processes; unfinished jobs go on at the next start."""
        self._supervisor.stop()

    def wait_until_ready(self, seconds: float = READY_SECONDS) -> None:
        """Return when the API says that every part is ready.

        Raises:
            ModelUnavailableError: a part is not ready after *seconds*; the message says
                which.
        """
        client = Client(self.url, timeout_seconds=READY_ANSWER_SECONDS, retries=0)
        deadline = time.monotonic() + seconds
        while reason := _not_ready(client):
            if time.monotonic() > deadline:
                message = f"the stack is not ready after {seconds:g} s: {reason}"
                raise ModelUnavailableError(message)
            self.tend()
            time.sleep(TEND_SECONDS)

    @contextmanager
    def tended(self) -> Iterator[None]:
        """Tend the stack in the background for the length of a block."""
        stopping = threading.Event()

        def tend() -> None:
            while not stopping.wait(TEND_SECONDS):
                self.tend()

        tending = threading.Thread(target=tend)
        tending.start()
        try:
            yield
        finally:
            stopping.set()
            tending.join()

    def pids(self) -> dict[str, int]:
        """Process ids by name, for benchmarks and tests of faults."""
        return self._supervisor.pids()

    def _start_redis(self) -> str:
        folder = self._settings.home / "redis"
        config, url = write_redis_config(folder, self._ports["redis"])
        command = (self._redis_program, str(config))
        explain = partial(explain_end, folder)
        self._supervisor.start(Child("redis", command, os.environ, explain=explain))
        wait_for_redis(folder, url, partial(self._supervisor.has_ended, "redis"))
        return url

    def _processes(self, redis_url: str) -> Iterator[Child]:
        """All processes but Redis, those that others need first."""
        env = self._environment(redis_url)
        python = (sys.executable, "-m")
        yield Child("model-server", (*python, *self._model_server_command()), env)
        yield Child("api", (*python, "service.main"), env)
        yield Child("reconciler", (*python, "worker.reconciler"), env)
        for number in range(1, self._options.workers + 1):
            # A killed worker loses nothing: its shard is computed again.
            command = (*python, "worker.main")
            yield Child(f"worker-{number}", command, env, stop_seconds=3)

    def _model_server_command(self) -> tuple[str, ...]:
        return (
            "kennel.cli",
            "model-server",
            f"--port={self._ports['model-server']}",
            f"--model_config_file={self._model_config.path}",
            f"--model_config_file_poll_wait_seconds={CONFIG_POLL_SECONDS}",
            "--allow_version_labels_for_unavailable_models=true",
            "--enable_batching",
        )

    def _environment(self, redis_url: str) -> dict[str, str]:
        settings = self._settings
        return {
            **os.environ,
            "KENNEL_HOME": str(settings.home),
            "RUNS_DIR": str(settings.runs_dir),
            "INPUT_ROOT": str(settings.inputs),
            "MODELS_DIR": str(settings.models_dir),
            "MODEL_SERVER": self.model_server,
            "MODEL_CONFIG_FILE": str(self._model_config.path),
            "REDIS_URL": redis_url,
            "HOST": self._options.host,
            "PORT": str(self._ports["api"]),
            "PYTHONUNBUFFERED": "1",
        }


def run_stack(settings: KennelSettings, options: StackOptions) -> None:
    """Run a stack in the foreground until SIGINT or SIGTERM.

    Raises:
        InvalidRequestError: a port is taken, there is no redis-server, or
            MODELS_DIR/models.config is broken.
        QueueUnavailableError: Redis does not start.
    """
    stopping = threading.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, lambda _number, _frame: stopping.set())
    stack = LocalStack(settings, options, click.echo)
    click.echo(f"kennel       | starting, the API will be at {stack.url}")
    try:
        stack.start()
        while not stopping.wait(TEND_SECONDS):
            stack.tend()
        click.echo("kennel       | stopping")
    finally:
        stack.stop()
    click.echo("kennel       | stopped; unfinished jobs go on at the next start")


class LocalModelConfig:
    """The local models.config, which follows the published one; not thread-safe."""

    def __init__(
        self, models_dir: Path, path: Path, echo: Callable[[str], None]
    ) -> None:
        """Follow *models_dir* in the file *path*; changes and errors go to *echo*."""
        self.path = path
        self._models_dir = models_dir
        self._echo = echo
        self._text = ""
        self._trouble = ""

    def write(self) -> None:
        """Bring the file up to date, and report a change.

        Raises:
            InvalidRequestError: the published configuration is broken.
            OSError: the disk is full or read-only.
        """
        remembered = self._remembered()
        text = render_entries(local_entries(self._models_dir, remembered))
        if text != self._text or not self.path.exists():
            write_atomically(self.path, text)
            self._text = text
            self._report()
        # A read-only folder of models is served all the same.
        with suppress(OSError):
            if restore_served(self._models_dir, remembered) and remembered:
                self._echo(f"{self._models_dir / CONFIG_FILE} was lost: written anew")

    def follow(self) -> None:
        """Bring the file up to date; an error, reported once, leaves it as it was."""
        try:
            self.write()
        except (InvalidRequestError, OSError) as error:
            if str(error) != self._trouble:
                self._echo(f"{error}; what is served stays as it was")
            self._trouble = str(error)
        else:
            self._trouble = ""

    def _remembered(self) -> list[ModelEntry]:
        if (self._models_dir / CONFIG_FILE).exists() or not self.path.exists():
            return []
        try:
            return read_model_config(self.path)
        except InvalidRequestError:
            return []  # damaged, but only a copy

    def _report(self) -> None:
        default = find_default(os.environ, self._models_dir)
        if default.served:
            self._echo(f"kennel       | serves {describe_models(self._models_dir)}")
        self._echo(f"kennel       | {default.sentence()}")


def _not_ready(client: Client) -> str:
    try:
        status = client.readiness()["status"]
    except ApiError as error:
        return str(error)
    return "" if status == "ready" else f"the API says it is {status}"

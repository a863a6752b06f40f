"""A local stack on free ports for a benchmark, a trivial model, resource figures."""

from __future__ import annotations

import dataclasses
import os
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

from benchmarks.harness.load import Target
from kennel.client import Client
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack, StackOptions
from kennel.stack.supervisor import choose_port
from models.contract import ModelCard
from models.networks.runtime import start_tensorflow

_START_PROXY = Path(__file__).parents[2] / "deploy/nginx/start.sh"


def settings() -> KennelSettings:
    return KennelSettings.from_env(os.environ)


@contextmanager
def running_stack(
    input_root: Path, workers: int = 2, models_dir: Path | None = None
) -> Iterator[LocalStack]:
    """A stack for folder jobs below *input_root*, on *models_dir* or this machine's."""
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as home:
        own = dataclasses.replace(
            settings(),
            home=Path(home),
            runs_dir=Path(home) / "runs",
            input_root=input_root,
            models_dir=models_dir or settings().models_dir,
        )
        ports = StackOptions(port=0, model_server_port=0, redis_port=0, workers=workers)
        stack = LocalStack(own, ports, lambda _line: None)
        try:
            stack.start()
            stack.wait_until_ready()
            _wait_until_loaded(Client(stack.url))
            with stack.tended():
                yield stack
        finally:
            stack.stop()


def _wait_until_loaded(client: Client) -> None:
    # The newest version answers while an older one still loads, which costs time.
    while True:
        models = client.models()
        states = {each["state"] for model in models for each in model["versions"]}
        if not states & {"START", "LOADING"}:
            return
        time.sleep(0.5)


@contextmanager
def stack_of(
    publish: Callable[[Path], str],
) -> Iterator[tuple[LocalStack, Target, str]]:
    """A stack with the one model that *publish* makes, its target, the model's name."""
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as folder:
        models_dir = Path(folder) / "models"
        name = publish(models_dir)
        with running_stack(Path(folder) / "data", 0, models_dir) as stack:
            target = Target(f"{stack.url}/v1/predict?model={name}")
            target.clients(2, 2)
            yield stack, target, name


@contextmanager
def trivial_stack() -> Iterator[tuple[LocalStack, Target]]:
    """A stack whose model costs next to nothing, and its target."""
    with stack_of(publish_trivial_model) as (stack, target, _):
        yield stack, target


@contextmanager
def served_stack(name: str) -> Iterator[tuple[LocalStack, Target]]:
    """A stack with the published models, and the target for the model *name*."""
    with (
        tempfile.TemporaryDirectory() as empty,
        running_stack(Path(empty), workers=0) as stack,
    ):
        target = Target(f"{stack.url}/v1/predict?model={name}")
        target.clients(2, 2)
        yield stack, target


@contextmanager
def running_proxy(stack: LocalStack, connections: int) -> Iterator[str]:
    """The compose file's nginx in front of *stack*'s API; yields its URL.

    A client address may have so many *connections*; the rest is configured as in
    containers.
    """
    api = urlsplit(stack.url)
    port = choose_port(0, "127.0.0.1", "")
    with tempfile.TemporaryDirectory(prefix="kennel-proxy-") as folder:
        # Started by root, nginx works as another user.
        Path(folder).chmod(0o777)
        environment = {
            "PATH": f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin",
            "RUN": f"{folder}/run",
            "SPOOL": folder,
            "LOOK_UP": "echo",
            "REPLICAS_NAME": str(api.hostname),
            "REPLICAS_PORT": str(api.port),
            "PROXY_LISTEN": f"127.0.0.1:{port}",
            "PROXY_WORKERS": "1",
            "PROXY_CONNECTIONS_PER_ADDRESS": str(connections),
        }
        quiet = subprocess.DEVNULL
        command = ["sh", str(_START_PROXY)]
        process = subprocess.Popen(command, env=environment, stdout=quiet, stderr=quiet)
        try:
            _wait_until_listening(port)
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait()


def _wait_until_listening(port: int) -> None:
    deadline = time.monotonic() + 20
    while True:
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        if time.monotonic() > deadline:
            raise SystemExit("nginx does not start: are nginx and envsubst installed?")
        time.sleep(0.05)


CARD = ModelCard(
    name="mean",
    version=1,
    labels=("dark", "bright"),
    image_size=(224, 224),
    network="mean of the pixels",
    recipe="none",
    temperature=1.0,
    clip_bound=0.95,
)


def publish_trivial_model(models_dir: Path) -> str:
    """Publish a model that averages pixels in *models_dir*; its name."""
    start_tensorflow()
    import keras

    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import single

    pixels = keras.Input((*CARD.image_size, 3))
    mean = keras.layers.GlobalAveragePooling2D()(pixels)
    classifier = keras.Model(pixels, keras.layers.Dense(2)(mean))
    folder = models_dir / CARD.name
    folder.mkdir(parents=True)
    write_savedmodel(single(classifier), CARD, folder / str(CARD.version))
    return CARD.name


_TICKS = os.sysconf("SC_CLK_TCK")


def tree(pid: int) -> list[int]:
    """*pid* and all of its descendants."""
    pids = [pid]
    for each in pids:
        for children in Path(f"/proc/{each}/task").glob("*/children"):
            pids.extend(int(child) for child in children.read_text().split())
    return pids


def cpu_seconds(pids: list[int]) -> float:
    """User and system time of *pids* so far."""
    ticks = 0
    for pid in pids:
        # The name, in parentheses, may hold spaces: the fields are counted after it.
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        ticks += int(fields[11]) + int(fields[12])
    return ticks / _TICKS


def resident_megabytes(pid: int) -> float:
    """The resident memory of *pid* now."""
    return _megabytes(pid, "VmRSS")


def peak_megabytes(pid: int) -> float:
    """The peak of the resident memory of *pid*."""
    return _megabytes(pid, "VmHWM")


def _megabytes(pid: int, field: str) -> float:
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise LookupError(f"{pid} has no {field}")

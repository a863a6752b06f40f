"""A local stack on free ports, with the models of this machine, for a benchmark."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from benchmarks.load.process import Target
from benchmarks.trivial import publish_trivial_model
from kennel.client import Client
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack
from kennel.stack.processes import StackOptions


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
    # The newest version serves while an older one still loads; that would be measured.
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
    """A stack with the one model that *publish* makes; where to post photos; its name."""
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as folder:
        models_dir = Path(folder) / "models"
        name = publish(models_dir)
        with running_stack(Path(folder) / "data", 0, models_dir) as stack:
            target = Target(f"{stack.url}/v1/predict?model={name}")
            target.clients(2, 2)
            yield stack, target, name


@contextmanager
def trivial_stack() -> Iterator[tuple[LocalStack, Target]]:
    """A stack whose model costs next to nothing, and where to post photos to."""
    with stack_of(publish_trivial_model) as (stack, target, _):
        yield stack, target


@contextmanager
def served_stack(name: str) -> Iterator[tuple[LocalStack, Target]]:
    """A stack with the published models, and where to post photos for *name* to."""
    with (
        tempfile.TemporaryDirectory() as empty,
        running_stack(Path(empty), workers=0) as stack,
    ):
        target = Target(f"{stack.url}/v1/predict?model={name}")
        target.clients(2, 2)
        yield stack, target

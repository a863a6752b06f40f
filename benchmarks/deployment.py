"""A local stack on free ports, with the models of this machine, for a benchmark."""

from __future__ import annotations

import dataclasses
import os
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from kennel.client import ApiClient
from kennel.settings import KennelSettings
from kennel.stack import LocalStack, StackOptions


def settings() -> KennelSettings:
    return KennelSettings.from_env(os.environ)


@contextmanager
def running_stack(input_root: Path, workers: int = 2) -> Iterator[LocalStack]:
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as home:
        own = dataclasses.replace(
            settings(),
            home=Path(home),
            runs_dir=Path(home) / "runs",
            input_root=input_root,
        )
        ports = StackOptions(port=0, model_server_port=0, redis_port=0, workers=workers)
        stack = LocalStack(own, ports, lambda _line: None)
        try:
            stack.start()
            stack.wait_until_ready()
            _wait_until_loaded(ApiClient(stack.url))
            with stack.tended():
                yield stack
        finally:
            stack.stop()


def _wait_until_loaded(client: ApiClient) -> None:
    # The newest version serves while an older one still loads; that would be measured.
    while True:
        models = client.get("/v1/models")["models"]
        states = {each["state"] for model in models for each in model["versions"]}
        if not states & {"START", "LOADING"}:
            return
        time.sleep(0.5)

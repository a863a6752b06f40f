"""Model servers for tests: the one at MODEL_SERVER, or embedded ones."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from kennel.serving_config.files import (
    ServingOptions,
    flags_in,
    serving_files,
    write_files,
)
from models.wire.client import ModelServerClient
from models.wire.config import ModelEntry, render_entries
from tests.fake_model_server import CARD
from tests.processes import free_port, running, wait_until
from tests.tiny_model import build_one_size_classifier, publish_tiny_model


@dataclass(frozen=True)
class RunningServer:
    target: str
    model: str
    models_dir: Path | None = None
    """None: not ours, nothing may be published there."""


def wait_for_version(target: str, model: str, version: int) -> None:
    def available() -> bool:
        from models.errors import KennelError

        try:
            with ModelServerClient(target, timeout_seconds=2) as client:
                states = client.versions(model)
        except KennelError:
            return False
        return any(
            each.version == version and each.state == "AVAILABLE" for each in states
        )

    wait_until(available, f"{model} version {version} on {target}", 60)


def start_embedded(
    stack: ExitStack, models_dir: Path, model: str, *flags: str
) -> RunningServer:
    target = f"127.0.0.1:{free_port()}"
    stack.enter_context(
        running(
            "kennel.cli",
            "model-server",
            f"--port={target.split(':')[1]}",
            f"--model_name={model}",
            f"--model_base_path={models_dir / model}",
            "--enable_batching",
            "--file_system_poll_wait_seconds=0.1",
            *flags,
            env=os.environ,
            log=models_dir / "server.log",
        )
    )
    return RunningServer(target, model, models_dir)


@pytest.fixture(scope="session")
def embedded_server(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[RunningServer]:
    if target := os.environ.get("MODEL_SERVER"):
        yield RunningServer(target, os.environ.get("MODEL", "pets"))
        return
    models_dir = tmp_path_factory.mktemp("models")
    publish_tiny_model(models_dir, 1)
    with ExitStack() as stack:
        started = start_embedded(stack, models_dir, "pets")
        wait_for_version(started.target, "pets", 1)
        yield started


@pytest.fixture(scope="session")
def strict_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RunningServer]:
    """What stands for TensorFlow Serving, with the files of `kennel serving-config`.

    Its "pets" take images of any size, its "rows" only their own.
    """
    models_dir = tmp_path_factory.mktemp("strict")
    publish_tiny_model(models_dir, 1)
    rows = replace(CARD, name="rows")
    publish_tiny_model(models_dir, 1, rows, build_one_size_classifier)
    entries = [ModelEntry(name, models_dir / name) for name in ("pets", "rows")]
    (models_dir / "models.config").write_text(render_entries(entries))
    texts = serving_files(ServingOptions("cpu", max_batch=8))
    write_files(texts, models_dir)
    with ExitStack() as stack:
        flags = (
            *flags_in(texts["flags"]),
            f"--model_config_file={models_dir / 'models.config'}",
            f"--batching_parameters_file={models_dir / 'batching.config'}",
            "--strict",
        )
        started = start_embedded(stack, models_dir, "pets", *flags)
        wait_for_version(started.target, "rows", 1)
        yield started

"""The processes of a local stack: their commands, and the environment they share."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from kennel.settings import KennelSettings
from kennel.stack.supervisor import Child

CONFIG_POLL_SECONDS = 1.0


@dataclass(frozen=True)
class StackOptions:
    """Ports and sizes; port 0 takes any free one."""

    host: str = "127.0.0.1"
    port: int = 8000
    model_server_port: int = 8500
    redis_port: int = 6379
    workers: int = 2


@dataclass(frozen=True)
class StackPlaces:
    """Where the parts of a stack find each other: folders, and ports that are free."""

    settings: KennelSettings
    host: str
    port: int
    model_server_port: int
    model_config: Path
    redis_url: str


def stack_processes(places: StackPlaces, workers: int) -> Iterator[Child]:
    """All but Redis, those that others need first."""
    env = _environment(places)
    python = (sys.executable, "-m")
    yield Child("model-server", (*python, *_model_server(places)), env)
    yield Child("api", (*python, "service.main"), env)
    yield Child("reconciler", (*python, "worker.reconciler"), env)
    for number in range(1, workers + 1):
        # A worker that is cut off loses nothing: its shard is done again.
        command = (*python, "worker.main")
        yield Child(f"worker-{number}", command, env, stop_seconds=3)


def _model_server(places: StackPlaces) -> tuple[str, ...]:
    return (
        "kennel.cli",
        "model-server",
        f"--port={places.model_server_port}",
        f"--model_config_file={places.model_config}",
        f"--model_config_file_poll_wait_seconds={CONFIG_POLL_SECONDS}",
        "--allow_version_labels_for_unavailable_models=true",
        "--enable_batching",
    )


def _environment(places: StackPlaces) -> dict[str, str]:
    settings = places.settings
    return {
        **os.environ,
        "KENNEL_HOME": str(settings.home),
        "RUNS_DIR": str(settings.runs_dir),
        "INPUT_ROOT": str(settings.inputs),
        "MODELS_DIR": str(settings.models_dir),
        "MODEL_SERVER": f"127.0.0.1:{places.model_server_port}",
        "MODEL_CONFIG_FILE": str(places.model_config),
        "REDIS_URL": places.redis_url,
        "HOST": places.host,
        "PORT": str(places.port),
        "PYTHONUNBUFFERED": "1",
    }

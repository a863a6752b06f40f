"""A container's main process dies; the restart policy has to bring it back."""

from __future__ import annotations

import os
import signal
import time
from typing import Final

from deploy.drill.load import Load
from deploy.drill.observation import Happened
from deploy.trial.deployment import Deployment
from deploy.trial.engine import ask, container_names, is_healthy
from models.errors import KennelError

SERVICES: Final = ("proxy", "api", "model-server", "worker", "reconciler", "redis")


def kill_one(deployment: Deployment, service: str, _: Load) -> Happened:
    """SIGKILL from the host: `docker kill` would count as a stop that was wanted.

    Raises:
        KennelError: it does not come back, or not healthy, or is not ours to kill.
    """
    name = container_names(deployment, service)[0]
    before = _started(deployment, name)
    pid = int(ask(deployment, "inspect", "--format", "{{.State.Pid}}", name))
    began = time.monotonic()
    _kill(pid)

    def is_back() -> bool:
        return _started(deployment, name) != before and is_healthy(deployment, name)

    deployment.wait_for(f"{name} is back", is_back)
    return Happened(began, time.monotonic() - began)


def _kill(pid: int) -> None:
    try:
        os.kill(pid, signal.SIGKILL)
    except PermissionError as error:
        raise KennelError(f"process {pid} is not ours: drill as root") from error


def _started(deployment: Deployment, name: str) -> str:
    return ask(deployment, "inspect", "--format", "{{.State.StartedAt}}", name)

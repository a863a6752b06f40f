"""What the engine, Docker or Podman, says of a deployment's containers."""

from __future__ import annotations

import shutil
import subprocess
from functools import partial

from deploy.trial.deployment import Deployment
from models.errors import KennelError


def container_names(deployment: Deployment, service: str = "") -> list[str]:
    """The running containers of *service*, or of all.

    Raises:
        KennelError: the engine cannot be asked.
    """
    labels = [f"label=com.docker.compose.project={deployment.project}"]
    if service:
        labels.append(f"label=com.docker.compose.service={service}")
    filters = [part for label in labels for part in ("--filter", label)]
    return ask(deployment, "ps", *filters, "--format", "{{.Names}}").split()


def wait_until_healthy(deployment: Deployment) -> list[str]:
    """Return the names of all containers when all are healthy.

    Raises:
        KennelError: one does not become so.
    """
    names = container_names(deployment)
    for name in names:
        deployment.wait_for(f"{name} is healthy", partial(is_healthy, deployment, name))
    return names


def is_healthy(deployment: Deployment, name: str) -> bool:
    """Whether its health check succeeds.

    Raises:
        KennelError: there is no such container.
    """
    if deployment.engine == "podman":
        # No timer may run checks there; this runs one.
        command = ["podman", "healthcheck", "run", name]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    asked = ask(deployment, "inspect", "--format", "{{.State.Health.Status}}", name)
    return asked.strip() == "healthy"


def ask(deployment: Deployment, *arguments: str) -> str:
    """What the engine prints.

    Raises:
        KennelError: it is not there, or refuses.
    """
    if shutil.which(deployment.engine) is None:
        raise KennelError(f"there is no {deployment.engine}: COMPOSE says which")
    command = [deployment.engine, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise KennelError(f"{' '.join(command)} failed: {answer.stderr.strip()}")
    return answer.stdout

"""A deployment for a trial, with its own folder, compose project, ports and images."""

from __future__ import annotations

import shlex
import shutil
import subprocess
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Final

import click

from deploy.images.base_images import stand_ins
from kennel.client import Client
from kennel.stack.supervisor import choose_port
from models.errors import KennelError

EMBEDDED_FILES: Final = "docker-compose.yml:deploy/compose.embedded.yml"
PATIENCE_SECONDS: Final = 300.0
COMMAND_SECONDS: Final = 1800.0


@dataclass(frozen=True)
class Deployment:
    """Deployment *name* in *folder*, run by *command* with the variables of *env*."""

    name: str
    folder: Path
    command: tuple[str, ...]
    env: Mapping[str, str]

    @classmethod
    def in_folder(cls, name: str, folder: Path, env: Mapping[str, str]) -> Deployment:
        """A deployment with free ports and images of its own, tagged *name*."""
        program, *rest = shlex.split(env.get("COMPOSE") or "docker compose")
        # Compose runs in *folder*; a relative path was meant from here.
        command = (str(Path(program).absolute()) if "/" in program else program, *rest)
        embedded = "kennel-model-server" in env.get("MODEL_SERVER_IMAGE", "")
        kept = {name: text for name, text in env.items() if name != "KENNEL_HOME"}
        kept |= _stand_ins(command[0], env)
        own = {
            "KENNEL_TAG": name,
            "COMPOSE_PROJECT_NAME": f"kennel-{name}",
            "COMPOSE_FILE": EMBEDDED_FILES if embedded else "docker-compose.yml",
            "COMPOSE_PROFILES": "cpu",
            "API_PORT": str(choose_port(0, "127.0.0.1", "API_PORT")),
            "PROMETHEUS_PORT": str(choose_port(0, "127.0.0.1", "PROMETHEUS_PORT")),
        }
        return cls(name, folder, command, {**kept, **own})

    @property
    def project(self) -> str:
        """The name of the compose project."""
        return self.env["COMPOSE_PROJECT_NAME"]

    @property
    def engine(self) -> str:
        """The program that runs the containers."""
        return _engine(self.command[0])

    @property
    def port(self) -> int:
        """The proxy's port."""
        return int(self.env["API_PORT"])

    @property
    def photos(self) -> list[Path]:
        """Photos that the model has not seen, in the order of their numbers."""
        test = self.folder / "var/demo/data/test"
        return sorted(test.glob("*.png"), key=lambda photo: int(photo.stem))

    def client(self, retries: int = 0) -> Client:
        """A client of the API; without retries by default, to hide no failure."""
        return Client(f"http://127.0.0.1:{self.port}", retries=retries)

    def first_answer(self) -> str:
        """Wait until the API is ready, and predict one photo; a sentence about it.

        Raises:
            KennelError: the API does not become ready.
        """
        with self.client() as client:
            ready = "the API is ready"
            self.wait_for(ready, lambda: client.readiness()["status"] == "ready")
            answer = client.predict(self.photos[:1])
        label = answer.predictions[0].label
        return f"{answer.model} {answer.version} calls {self.photos[0].name} {label}"

    def compose(self, *arguments: str, check: bool = True) -> None:
        """Run compose with *arguments*.

        Raises:
            CalledProcessError: compose failed, and *check* is set.
        """
        self.run(*self.command, *arguments, check=check)

    def take_down(self) -> None:
        """Remove the containers, networks and volumes of every profile."""
        profiles = ("--profile", "observability", "--profile", "train")
        # Orphans: podman-compose counts additional replicas as such.
        down = ("down", "--volumes", "--remove-orphans")
        self.compose(*profiles, *down, check=False)

    def run(self, *command: str, check: bool = True) -> None:
        """Run *command* in the folder and show its output."""
        click.echo(f"$ {shlex.join(command)}")
        subprocess.run(
            command,
            cwd=self.folder,
            env=self.env,
            check=check,
            timeout=COMMAND_SECONDS,
        )

    def wait_for(self, event: str, has_come: Callable[[], bool]) -> None:
        """Wait until *has_come* returns true; *event* names it in the error.

        Raises:
            KennelError: it does not within `PATIENCE_SECONDS`.
        """
        deadline = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < deadline:
            with suppress(KennelError, OSError):
                if has_come():
                    return
            time.sleep(0.5)
        raise KennelError(f"waited {PATIENCE_SECONDS:g} s until {event}, in vain")


def _engine(command: str) -> str:
    return "docker" if "docker" in command else "podman"


def _stand_ins(command: str, env: Mapping[str, str]) -> dict[str, str]:
    # Not with Docker, which can fetch the pinned images from a registry.
    if _engine(command) == "docker" or shutil.which(_engine(command)) is None:
        return {}
    found = dict(line.split("=", 1) for line in stand_ins(_engine(command)))
    chosen = {name: image for name, image in found.items() if name not in env}
    for name, image in chosen.items():
        click.echo(f"{name}={image}: this machine's own, not the pinned one")
    return chosen


def container_names(deployment: Deployment, service: str = "") -> list[str]:
    """The names of the running containers of *service*, by default of all services.

    Raises:
        KennelError: the engine fails.
    """
    labels = [f"label=com.docker.compose.project={deployment.project}"]
    if service:
        labels.append(f"label=com.docker.compose.service={service}")
    filters = [part for label in labels for part in ("--filter", label)]
    return run_engine(deployment, "ps", *filters, "--format", "{{.Names}}").split()


def wait_until_healthy(deployment: Deployment) -> list[str]:
    """Wait until all containers are healthy; returns their names.

    Raises:
        KennelError: a container does not become healthy.
    """
    names = container_names(deployment)
    for name in names:
        deployment.wait_for(f"{name} is healthy", partial(is_healthy, deployment, name))
    return names


def is_healthy(deployment: Deployment, name: str) -> bool:
    """Whether the health check of the container *name* succeeds.

    Raises:
        KennelError: there is no such container.
    """
    if deployment.engine == "podman":
        # systemd's timers, which run the checks, may be missing: this runs one.
        command = ["podman", "healthcheck", "run", name]
        return subprocess.run(command, capture_output=True, check=False).returncode == 0
    asked = run_engine(
        deployment, "inspect", "--format", "{{.State.Health.Status}}", name
    )
    return asked.strip() == "healthy"


def run_engine(deployment: Deployment, *arguments: str) -> str:
    """Run the engine with *arguments*; its output.

    Raises:
        KennelError: the engine is not installed, or fails.
    """
    if shutil.which(deployment.engine) is None:
        raise KennelError(f"there is no {deployment.engine}: COMPOSE says which")
    command = [deployment.engine, *arguments]
    answer = subprocess.run(command, capture_output=True, text=True, check=False)
    if answer.returncode:
        raise KennelError(f"{' '.join(command)} failed: {answer.stderr.strip()}")
    return answer.stdout


def copy_working_tree(root: Path, destination: Path) -> None:
    """Copy the files that git tracks, or would track, from *root*, as they are now.

    Raises:
        CalledProcessError: *root* is no git working tree.
    """
    command = ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"]
    listing = subprocess.run(command, cwd=root, capture_output=True, check=True)
    for name in filter(None, listing.stdout.decode().split("\0")):
        # git still lists a removed file until the removal is committed.
        if (root / name).is_file():
            (destination / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(root / name, destination / name)

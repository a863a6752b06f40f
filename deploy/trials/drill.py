"""`make drill`: kill, upgrade, back up and restore a deployment under load.

The drill has its own folder, compose project, images, ports and passwords, so that a
deployment beside it is not disturbed. Model and photos are those of `make demo` in
KENNEL_HOME. COMPOSE names the command (default: docker compose);
MODEL_SERVER_IMAGE=kennel-model-server uses the embedded model server. --rate has to
leave room for a job on this machine, or predictions are refused as overload; a job of
--photos has to last longer than an upgrade.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click

from deploy.trials.deployment import (
    Deployment,
    container_names,
    copy_working_tree,
    is_healthy,
    run_engine,
    wait_until_healthy,
)
from deploy.trials.events import (
    HEADER,
    FolderJobs,
    Happened,
    Observation,
    complaints,
    follow,
    link_photos,
    observe,
)
from deploy.trials.load import Load
from kennel.settings import KennelSettings
from models.errors import KennelError

ROOT: Final = Path(__file__).resolve().parents[2]
SERVICES: Final = ("proxy", "api", "model-server", "worker", "reconciler", "redis")
EVENTS: Final = (*SERVICES, "upgrade", "backup", "restore")
UPGRADE_REQUESTS: Final = 2000
UPGRADE_SECONDS: Final = 1200.0


@click.command()
@click.option("--rate", default=10.0, show_default=True, help="Predictions a second.")
@click.option("--photos", default=400, show_default=True, help="Photos of each job.")
@click.option("--only", multiple=True, type=click.Choice(EVENTS), help="Default: all.")
def main(rate: float, photos: int, only: tuple[str, ...]) -> None:
    """Drill a deployment of its own; exits with 1 if a check failed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = KennelSettings.from_env(os.environ)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="drill-") as folder:
        # The containers run as another user.
        Path(folder).chmod(0o755)
        deployment = _prepare(settings, Path(folder, "kennel"))
        try:
            broken = _drill(deployment, rate, photos, only or EVENTS)
        except (KennelError, OSError, subprocess.SubprocessError) as error:
            deployment.compose("logs", "--tail=40", check=False)
            broken = [str(error)]
        finally:
            deployment.take_down()
    for line in broken:
        click.echo(f"FAILED: {line}")
    sys.exit(bool(broken))


def _prepare(settings: KennelSettings, clone: Path) -> Deployment:
    demo = settings.home / "demo/data/test"
    if not demo.is_dir() or not settings.models_dir.is_dir():
        raise click.ClickException(
            f"{settings.home} has no model and photos: make demo"
        )
    copy_working_tree(ROOT, clone)
    deployment = Deployment.in_folder("drill", clone, os.environ)
    deployment.run("sh", "deploy/prepare.sh")
    shutil.copytree(demo, clone / "var/demo/data/test")
    shutil.copytree(settings.models_dir, clone / "var/models", dirs_exist_ok=True)
    return deployment


def _drill(
    deployment: Deployment, rate: float, photos: int, events: tuple[str, ...]
) -> list[str]:
    link_photos(deployment, photos)
    deployment.compose("build")
    # Podman does not remove a container on which another one depends.
    podman = ["--no-deps"] if deployment.engine == "podman" else []
    deployment.compose("up", "--detach", *podman)
    click.echo(deployment.first_answer())
    wait_until_healthy(deployment)
    jobs = FolderJobs.with_reference(deployment)
    seen = []
    for observation in _under_load(jobs, rate, events):
        click.echo(f"{HEADER}\n{observation}")
        seen.append(observation)
    restored = [restore(jobs)] if "restore" in events else []
    click.echo("\n".join([HEADER, *map(str, seen), "", *restored]))
    return [line for each in seen for line in complaints(each)]


def _under_load(
    jobs: FolderJobs, rate: float, events: tuple[str, ...]
) -> Iterator[Observation]:
    deployment = jobs.deployment
    for service in SERVICES:
        if service in events:
            kill = partial(kill_one, deployment, service)
            yield observe(f"{service} killed", kill, jobs, rate)
    if "upgrade" in events:
        yield observe("upgrade", partial(upgrade, deployment), jobs, rate)
    if "backup" in events:
        yield observe("backup", partial(back_up, deployment), jobs, rate)


def kill_one(deployment: Deployment, service: str, _: Load) -> Happened:
    """Kill a container of *service* and wait until it is back and healthy.

    By SIGKILL from the host: after `docker kill` the engine would not restart it.

    Raises:
        KennelError: it does not come back healthy, or its process is another user's.
    """
    name = container_names(deployment, service)[0]
    before = _started(deployment, name)
    pid = int(run_engine(deployment, "inspect", "--format", "{{.State.Pid}}", name))
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
    return run_engine(deployment, "inspect", "--format", "{{.State.StartedAt}}", name)


def upgrade(deployment: Deployment, load: Load) -> Happened:
    """Upgrade under load: another image of the API, another variable of the workers.

    Returns after `UPGRADE_REQUESTS` predictions at the earliest.

    Raises:
        KennelError: an API still runs the old image, or a container is not healthy.
        CalledProcessError: a command of the procedure failed.
    """
    _change(deployment)
    began = time.monotonic()
    follow(deployment, "Upgrade")
    wait_until_healthy(deployment)
    happened = Happened(began, time.monotonic() - began)
    _expect_new_image(deployment)
    load.wait_for(UPGRADE_REQUESTS, UPGRADE_SECONDS)
    return happened


def back_up(deployment: Deployment, _: Load | None = None) -> Happened:
    """Make a backup and check it under load.

    Raises:
        CalledProcessError: a command of the procedure failed.
    """
    began = time.monotonic()
    follow(deployment, "Backup")
    return Happened(began, time.monotonic() - began)


def restore(jobs: FolderJobs) -> str:
    """Lose all data while a job runs, and restore a backup; a line about it.

    Raises:
        KennelError: the API does not become ready, or the job's CSV differs.
        CalledProcessError: a command of a procedure failed.
    """
    deployment = jobs.deployment
    job = jobs.begin()
    back_up(deployment)
    jobs.expect_running(job)
    deployment.take_down()
    shutil.rmtree(deployment.folder / "var/models")
    deployment.run("sh", "deploy/prepare.sh")
    began = time.monotonic()
    follow(deployment, "Restore")
    commands = time.monotonic() - began
    answer = deployment.first_answer()
    ready = time.monotonic() - began
    if not jobs.ends_equal(job):
        raise KennelError(f"job {job} of the backup ended otherwise")
    return (
        f"restore: commands {commands:.0f} s, first answer after {ready:.0f} s "
        f"({answer}); the job that was running ended with the same bytes"
    )


def _change(deployment: Deployment) -> None:
    with (deployment.folder / "service/__init__.py").open("a") as module:
        module.write("\n# Another revision.\n")
    with (deployment.folder / ".env").open("a") as variables:
        variables.write("LOG_LEVEL=warning\n")


def _expect_new_image(deployment: Deployment) -> None:
    tag = f"kennel-api:{deployment.name}"
    new = _engine_id(deployment, "image", "inspect", "--format", "{{.Id}}", tag)
    for name in container_names(deployment, "api"):
        if _engine_id(deployment, "inspect", "--format", "{{.Image}}", name) != new:
            raise KennelError(f"{name} runs the old image after the upgrade")


def _engine_id(deployment: Deployment, *arguments: str) -> str:
    return run_engine(deployment, *arguments).strip().removeprefix("sha256:")


if __name__ == "__main__":
    main()

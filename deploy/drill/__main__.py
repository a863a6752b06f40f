"""Kill, upgrade, back up and restore a deployment under load; print what came of it.

Beside a running deployment: own folder, project, images, ports and passwords. The model
and photos are those of `make demo` in KENNEL_HOME. COMPOSE names the command (default:
docker compose); MODEL_SERVER_IMAGE=kennel-model-server uses the embedded model server.
--rate has to leave room for a job on this machine, or predictions are refused as overload;
--photos have to last for an upgrade.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Final

import click

from deploy.drill import killing, replacing
from deploy.drill.folder_jobs import FolderJobs, link_photos
from deploy.drill.observation import HEADER, Observation, observe
from deploy.drill.verdict import complaints
from deploy.trial.clone import copy_working_tree
from deploy.trial.deployment import Deployment
from deploy.trial.engine import wait_until_healthy
from kennel.settings import KennelSettings
from models.errors import KennelError

ROOT: Final = Path(__file__).resolve().parents[2]
EVENTS: Final = (*killing.SERVICES, "upgrade", "backup", "restore")


@click.command()
@click.option("--rate", default=10.0, show_default=True, help="Predictions a second.")
@click.option("--photos", default=400, show_default=True, help="Photos of each job.")
@click.option("--only", multiple=True, type=click.Choice(EVENTS), help="Default: all.")
def main(rate: float, photos: int, only: tuple[str, ...]) -> None:
    """Drill a deployment of its own; exits with 1 if a promise was not kept."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = KennelSettings.from_env(os.environ)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="drill-") as folder:
        # The containers' user is not ours.
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
    # Podman lets no container go that another one was made to need.
    podman = ["--no-deps"] if deployment.engine == "podman" else []
    deployment.compose("up", "--detach", *podman)
    click.echo(deployment.first_answer())
    wait_until_healthy(deployment)
    jobs = FolderJobs.with_reference(deployment)
    seen = []
    for observation in _under_load(jobs, rate, events):
        click.echo(f"{HEADER}\n{observation}")
        seen.append(observation)
    restored = [replacing.restore(jobs)] if "restore" in events else []
    click.echo("\n".join([HEADER, *map(str, seen), "", *restored]))
    return [line for each in seen for line in complaints(each)]


def _under_load(
    jobs: FolderJobs, rate: float, events: tuple[str, ...]
) -> Iterator[Observation]:
    deployment = jobs.deployment
    for service in killing.SERVICES:
        if service in events:
            kill = partial(killing.kill_one, deployment, service)
            yield observe(f"{service} killed", kill, jobs, rate)
    if "upgrade" in events:
        yield observe("upgrade", partial(replacing.upgrade, deployment), jobs, rate)
    if "backup" in events:
        yield observe("backup", partial(replacing.back_up, deployment), jobs, rate)


if __name__ == "__main__":
    main()

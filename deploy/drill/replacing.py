"""What is done on purpose: an upgrade, a backup, and a new machine from it."""

from __future__ import annotations

import shutil
import time
from typing import Final

from deploy.drill.folder_jobs import FolderJobs
from deploy.drill.load import Load
from deploy.drill.observation import Happened
from deploy.drill.procedures import follow
from deploy.trial.deployment import Deployment
from deploy.trial.engine import ask, container_names, wait_until_healthy
from models.errors import KennelError

UPGRADE_REQUESTS: Final = 2000
UPGRADE_SECONDS: Final = 1200.0


def upgrade(deployment: Deployment, load: Load) -> Happened:
    """Another image of the API and another variable of the workers, without a pause.

    Returns after `UPGRADE_REQUESTS` predictions at the earliest.

    Raises:
        KennelError: an old API is there still, or one is not healthy.
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
    """Make a backup and check it, while all goes on.

    Raises:
        CalledProcessError: a command of the procedure failed.
    """
    began = time.monotonic()
    follow(deployment, "Backup")
    return Happened(began, time.monotonic() - began)


def restore(jobs: FolderJobs) -> str:
    """Lose everything while a job runs, and take it from a backup; a line about it.

    Raises:
        KennelError: the API does not become ready, or the job ends otherwise.
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
    new = _image(deployment, "image", "inspect", "--format", "{{.Id}}", tag)
    for name in container_names(deployment, "api"):
        if _image(deployment, "inspect", "--format", "{{.Image}}", name) != new:
            raise KennelError(f"{name} runs the old image after the upgrade")


def _image(deployment: Deployment, *arguments: str) -> str:
    return ask(deployment, *arguments).strip().removeprefix("sha256:")

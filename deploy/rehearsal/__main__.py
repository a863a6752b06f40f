"""From a fresh clone to a prediction by the README's commands, then all that is promised.

Beside a running deployment: own folder, project, images, ports and passwords. The last
lines say what was seen. COMPOSE names the command (default: docker compose);
MODEL_SERVER_IMAGE=kennel-model-server builds and uses the embedded model server. Images
that Podman has by tag alone are taken for the pinned ones, and named; by hand:
env $(python -m deploy.base_images --tags) before compose.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

import click

from deploy.rehearsal import containers, folder_jobs, front_door, watching
from deploy.trial.clone import copy_working_tree
from deploy.trial.deployment import Deployment
from kennel.settings import KennelSettings
from models.errors import KennelError

ROOT: Final = Path(__file__).resolve().parents[2]
LONGEST_SECONDS: Final = 600.0
"""From the clone to the first prediction, with all images to be built."""


def main() -> int:
    """Rehearse once; 0 if all was as promised."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = KennelSettings.from_env(os.environ).home
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix="rehearsal-") as folder:
        # The containers' user is not ours.
        Path(folder).chmod(0o755)
        clone = Path(folder, "kennel")
        copy_working_tree(ROOT, clone)
        deployment = Deployment.in_folder("rehearsal", clone, os.environ)
        seen, status = ["rehearsal interrupted"], 1
        try:
            seen, status = _rehearse(deployment), 0
        except (KennelError, OSError, subprocess.SubprocessError) as error:
            seen = [f"rehearsal FAILED: {error}"]
            deployment.compose("logs", "--tail=40", check=False)
        finally:
            deployment.take_down()
    click.echo("\n".join(seen))
    return status


def _rehearse(deployment: Deployment) -> list[str]:
    seen = [_first_prediction(deployment)]
    seen += front_door.rehearse(deployment)
    seen += folder_jobs.rehearse(deployment)
    seen += containers.rehearse(deployment)
    seen += watching.rehearse(deployment)
    return ["rehearsed:", *(f"  {line}" for line in seen)]


def _first_prediction(deployment: Deployment) -> str:
    began = time.monotonic()
    deployment.run("sh", "deploy/prepare.sh")
    deployment.compose("build")
    deployment.compose("--profile", "train", "build", "trainer")
    built = time.monotonic()
    demo = ("demo", "--quick", "--model-only")
    # docker compose needs no profile to run one service, podman-compose does.
    deployment.compose("--profile", "train", "run", "--rm", "trainer", *demo)
    trained = time.monotonic()
    deployment.compose("up", "--detach")
    answer = deployment.first_answer()
    seconds = time.monotonic() - began
    if seconds > LONGEST_SECONDS:
        raise KennelError(f"the first prediction took {seconds:.0f} s")
    return (
        f"clone to first prediction {seconds:.0f} s: images {built - began:.0f}, model "
        f"{trained - built:.0f}, start {time.monotonic() - trained:.0f}; {answer}"
    )


if __name__ == "__main__":
    sys.exit(main())

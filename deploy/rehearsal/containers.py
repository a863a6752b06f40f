"""The containers themselves: healthy, small, and one of two APIs can be lost."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from deploy.base_images import base_images
from deploy.trial.deployment import Deployment
from deploy.trial.engine import ask, wait_until_healthy
from models.errors import KennelError

MOST_MEGABYTES: Final = 220
_NO_TENSORFLOW: Final = (
    "import pathlib, sys; found = [*pathlib.Path('/opt').rglob('libtensorflow*')]; "
    "sys.exit(bool(found))"
)


def rehearse(deployment: Deployment) -> list[str]:
    """Look at every container, then kill one.

    Raises:
        KennelError: one is not as promised.
    """
    names = wait_until_healthy(deployment)
    deployment.compose("exec", "-T", "api", "python", "-m", "kennel.cli", "doctor")
    for service in ("api", "worker"):
        deployment.compose("exec", "-T", service, "python", "-c", _NO_TENSORFLOW)
    seen = [f"{len(names)} containers healthy, kennel doctor content"]
    seen += [_size(deployment, image) for image in ("api", "worker")]
    return [*seen, _kill_an_api(deployment, names)]


def _size(deployment: Deployment, image: str) -> str:
    pinned = next(each for each in base_images() if each.name == "python")
    python = deployment.env.get("PYTHON_IMAGE") or str(pinned)
    names = f"kennel-{image}:{deployment.name}", python
    sizes = ask(deployment, "image", "inspect", "--format", "{{.Size}}", *names)
    ours, base = map(int, sizes.split())
    megabytes = (ours - base) / 1e6
    if megabytes > MOST_MEGABYTES:
        raise KennelError(f"the image of the {image} adds {megabytes:.0f} MB")
    return f"the image of the {image} adds {megabytes:.0f} MB to its base"


def _kill_an_api(deployment: Deployment, names: list[str]) -> str:
    victim = next(name for name in names if "api" in name)
    with _predicting(deployment) as (answers, errors):
        deployment.wait_for("predictions flow", lambda: len(answers) > 5)
        ask(deployment, "kill", victim)
        before = len(answers)
        deployment.wait_for("they go on", lambda: len(answers) > before + 40)
    if errors:
        raise KennelError(f"{victim} was killed: {errors}")
    return f"{victim} killed under load: {len(answers)} predictions, none failed"


@contextmanager
def _predicting(deployment: Deployment) -> Iterator[tuple[list[float], list[str]]]:
    answers: list[float] = []
    errors: list[str] = []
    enough = threading.Event()

    def ask() -> None:
        with deployment.client() as client:
            while not enough.is_set():
                try:
                    client.predict(deployment.photos[:1])
                    answers.append(time.monotonic())
                except KennelError as error:
                    errors.append(str(error))

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers, errors
    finally:
        enough.set()
        for thread in threads:
            thread.join()

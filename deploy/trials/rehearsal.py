"""`make rehearse`: from a clone to a prediction by the README's commands, then checks.

The rehearsal has its own folder, compose project, images, ports and passwords, so that
a deployment beside it is not disturbed. The last lines are the results. COMPOSE names
the command (default: docker compose); MODEL_SERVER_IMAGE=kennel-model-server builds and
uses the embedded model server. Images that Podman has by tag only are used instead of
the pinned ones, and named; by hand: env $(python -m deploy.images.base_images --tags)
before compose.
"""

from __future__ import annotations

import csv
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from http.client import HTTPConnection
from pathlib import Path
from typing import Any, Final

import click

from deploy.images.base_images import base_images
from deploy.trials.deployment import (
    PATIENCE_SECONDS,
    Deployment,
    copy_working_tree,
    run_engine,
    wait_until_healthy,
)
from kennel.settings import KennelSettings
from models.errors import KennelError

ROOT: Final = Path(__file__).resolve().parents[2]
LONGEST_SECONDS: Final = 600.0
"""From the clone to the first prediction, with all images to be built."""

SLOW_CLIENTS: Final = 200
"""More than the API has threads: 2 replicas with 2 processes of 40 each."""

_TOO_LARGE_BYTES: Final = 10**9
MOST_MEGABYTES: Final = 220
_NO_TENSORFLOW: Final = (
    "import pathlib, sys; found = [*pathlib.Path('/opt').rglob('libtensorflow*')]; "
    "sys.exit(bool(found))"
)
API_JOB: Final = "kennel-api"


def main() -> int:
    """Rehearse once; 0 if every check passed."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    home = KennelSettings.from_env(os.environ).home
    home.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=home, prefix="rehearsal-") as folder:
        # The containers run as another user.
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
    seen += check_front_door(deployment)
    seen += check_folder_job(deployment)
    seen += check_containers(deployment)
    seen += check_monitoring(deployment)
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


def check_front_door(deployment: Deployment) -> list[str]:
    """Check the proxy: page, hidden metrics, a body that is too large, slow clients.

    Raises:
        KennelError: an answer is not the expected one.
    """
    _expect(deployment, "/", 200, "text/html")
    _expect(deployment, "/metrics", 404, "application/problem+json")
    _too_large(deployment)
    seconds = _beside_slow_clients(deployment)
    return [
        "page, hidden metrics and refusal of a large body as promised",
        f"beside {SLOW_CLIENTS} slow clients an answer takes {seconds:.2f} s",
    ]


def _expect(deployment: Deployment, path: str, status: int, kind: str) -> None:
    connection = HTTPConnection("127.0.0.1", deployment.port, timeout=10)
    connection.request("GET", path)
    answer = connection.getresponse()
    seen = answer.status, str(answer.headers.get_content_type())
    connection.close()
    if seen != (status, kind):
        raise KennelError(f"GET {path} answers {seen}, not {(status, kind)}")


def _too_large(deployment: Deployment) -> None:
    connection = HTTPConnection("127.0.0.1", deployment.port, timeout=10)
    connection.putrequest("POST", "/v1/predict")
    connection.putheader("Content-Type", "image/png")
    connection.putheader("Content-Length", str(_TOO_LARGE_BYTES))
    connection.endheaders()
    answer = connection.getresponse()
    problem: dict[str, Any] = json.load(answer)
    connection.close()
    if (answer.status, problem["code"]) != (413, "too_large"):
        raise KennelError(f"a body of {_TOO_LARGE_BYTES} bytes is answered {problem}")


def _beside_slow_clients(deployment: Deployment) -> float:
    head = (
        "POST /v1/predict HTTP/1.1\r\nHost: kennel\r\nContent-Type: image/png\r\n"
        "Content-Length: 100000\r\n\r\n."
    )
    with ExitStack() as stack:
        for _ in range(SLOW_CLIENTS):
            slow = socket.create_connection(("127.0.0.1", deployment.port), 10)
            stack.enter_context(slow).sendall(head.encode())
        began = time.monotonic()
        stack.enter_context(deployment.client()).predict(deployment.photos[:1])
        return time.monotonic() - began


def check_folder_job(deployment: Deployment) -> list[str]:
    """Submit the demo's test photos and check the CSV.

    Raises:
        KennelError: ids or probabilities are not those expected.
    """
    photos = deployment.photos
    inputs = deployment.folder / "var/data/test"
    shutil.copytree(photos[0].parent, inputs)
    began = time.monotonic()
    with deployment.client() as client:
        answer = client.predict(photos[:1])
        label = answer.labels[-1]
        job = client.submit(inputs.name, positive=label)
        client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)
        lines = client.submission(job.id).decode().splitlines()
    rows = list(csv.reader(lines))[1:]
    if [row[0] for row in rows] != [photo.stem for photo in photos]:
        raise KennelError(f"the CSV's ids are not those of the photos: {rows}")
    probability = answer.predictions[0].probabilities[label]
    if abs(float(rows[0][1]) - probability) > 0.01:
        raise KennelError(f"POST /v1/predict said {probability}, the CSV {rows[0]}")
    return [f"{len(rows)} CSV rows, ids in order, in {time.monotonic() - began:.0f} s"]


def check_containers(deployment: Deployment) -> list[str]:
    """Check every container and the images' sizes, then kill an API under load.

    Raises:
        KennelError: a check failed.
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
    sizes = run_engine(deployment, "image", "inspect", "--format", "{{.Size}}", *names)
    ours, base = map(int, sizes.split())
    megabytes = (ours - base) / 1e6
    if megabytes > MOST_MEGABYTES:
        raise KennelError(f"the image of the {image} adds {megabytes:.0f} MB")
    return f"the image of the {image} adds {megabytes:.0f} MB to its base"


def _kill_an_api(deployment: Deployment, names: list[str]) -> str:
    victim = next(name for name in names if "api" in name)
    with _predicting(deployment) as (answers, errors):
        deployment.wait_for("predictions flow", lambda: len(answers) > 5)
        run_engine(deployment, "kill", victim)
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

    def predict() -> None:
        with deployment.client() as client:
            while not enough.is_set():
                try:
                    client.predict(deployment.photos[:1])
                    answers.append(time.monotonic())
                except KennelError as error:
                    errors.append(str(error))

    threads = [threading.Thread(target=predict) for _ in range(4)]
    for thread in threads:
        thread.start()
    try:
        yield answers, errors
    finally:
        enough.set()
        for thread in threads:
            thread.join()


def check_monitoring(deployment: Deployment) -> list[str]:
    """Start Prometheus and wait until it scrapes all replicas of the API.

    Raises:
        KennelError: it does not.
    """
    deployment.compose("--profile", "observability", "up", "--detach", "prometheus")
    deployment.wait_for("Prometheus sees two APIs", lambda: _scraped(deployment) >= 2)
    wait_until_healthy(deployment)
    return [f"Prometheus scrapes {_scraped(deployment)} APIs"]


def _scraped(deployment: Deployment) -> int:
    port = deployment.env["PROMETHEUS_PORT"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/api/v1/targets") as answer:
        targets: list[dict[str, Any]] = json.load(answer)["data"]["activeTargets"]
    return sum(
        target["health"] == "up" and target["labels"]["job"] == API_JOB
        for target in targets
    )


if __name__ == "__main__":
    sys.exit(main())

"""`make rehearse`: build the images, run the compose file, send a photo and a folder.

For real, beside a running deployment: own project, images, port, volumes and password.
The last line says what was seen. COMPOSE names the command (default: docker compose);
MODEL_SERVER_IMAGE=kennel-model-server builds and uses the embedded model server.
"""

from __future__ import annotations

import csv
import io
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, Final, TypeVar

import click

from kennel.client import ApiClient, ApiError
from kennel.ports import choose_port
from kennel.settings import KennelSettings
from models.errors import KennelError
from models.wire.config import published_models

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = "kennel-rehearsal"
TAG: Final = "rehearsal"
BASE_IMAGE: Final = "python:3.11-slim-bookworm"
MAX_PHOTOS: Final = 40
READY_SECONDS: Final = 300.0
JOB_SECONDS: Final = 300.0

Answer = TypeVar("Answer")


class RehearsalError(KennelError):
    """What was seen is not what the deployment promises."""


def main() -> int:
    """Rehearse once; 0 if all was as promised."""
    settings = KennelSettings.from_env(os.environ)
    photos = _photos(settings)
    port = choose_port(0, "127.0.0.1", "API_PORT")
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="rehearsal-") as root:
        env = {
            **os.environ,
            "KENNEL_TAG": TAG,
            "REDIS_PASSWORD": secrets.token_hex(16),
            "MODELS_DIR": str(settings.models_dir),
            "INPUT_ROOT": str(_copy(photos, Path(root))),
            "API_BIND": "127.0.0.1",
            "API_PORT": str(port),
        }
        compose = _compose_command(env)
        try:
            seen = _rehearse(compose, env, ApiClient(f"http://127.0.0.1:{port}"))
        except (KennelError, OSError, subprocess.SubprocessError) as error:
            _run([*compose, "logs", "--tail=40"], env, check=False)
            seen, failed = f"rehearsal FAILED: {error}", True
        else:
            failed = False
        finally:
            _run([*compose, "down", "-v"], env, check=False)
    click.echo(seen)
    return int(failed)


def _rehearse(compose: Sequence[str], env: Mapping[str, str], client: ApiClient) -> str:
    began = time.monotonic()
    _run([*compose, "build"], env)
    built = time.monotonic()
    _run([*compose, "up", "-d"], env)
    _wait_for("the API to be ready", READY_SECONDS, lambda: _is_ready(client))
    photos = sorted(Path(env["INPUT_ROOT"], "photos").iterdir(), key=_number)
    answer = client.predict(photos[:1])
    first = time.monotonic()
    positive = answer["labels"][-1]
    probability = answer["predictions"][0]["probabilities"][positive]
    rows = _folder_to_csv(client, positive)
    ended = time.monotonic()
    expected = [photo.stem for photo in photos]
    if [row[0] for row in rows] != expected:
        raise RehearsalError(f"the CSV's ids {rows} are not {expected}")
    if abs(float(rows[0][1]) - probability) > 0.01:
        message = f"the CSV says {rows[0]}, POST /v1/predict said {probability}"
        raise RehearsalError(message)
    return (
        f"rehearsed: images built in {built - began:.0f} s ({_added_megabytes()}), "
        f"first prediction {first - built:.0f} s after up: {answer['model']} "
        f"{answer['version']} says {positive} {probability:.4f} of {photos[0].name}; "
        f"{len(rows)} CSV rows, ids in order, in {ended - first:.0f} s"
    )


def _folder_to_csv(client: ApiClient, positive: str) -> list[list[str]]:
    job = client.post("/v1/jobs", {"input": "photos", "positive": positive})

    def finished() -> dict[str, Any] | None:
        status = client.get(f"/v1/jobs/{job['id']}")
        if status["state"] == "failed":
            raise RehearsalError(f"the job failed: {status['error']}")
        return status if status["state"] == "succeeded" else None

    _wait_for("the job to succeed", JOB_SECONDS, finished)
    text = client.download(f"/v1/jobs/{job['id']}/submission.csv").decode()
    return list(csv.reader(io.StringIO(text)))[1:]


def _is_ready(client: ApiClient) -> bool | None:
    try:
        return client.get("/readyz")["status"] == "ready" or None
    except ApiError:
        return None


def _wait_for(what: str, seconds: float, ask: Callable[[], Answer | None]) -> Answer:
    deadline = time.monotonic() + seconds
    while (answer := ask()) is None:
        if time.monotonic() > deadline:
            raise RehearsalError(f"waited {seconds:g} s for {what}")
        time.sleep(0.5)
    return answer


def _photos(settings: KennelSettings) -> list[Path]:
    folder = settings.home / "demo" / "data" / "test"
    if not published_models(settings.models_dir) or not folder.is_dir():
        click.echo("No model or no photos yet: the quick demo makes both.")
        command = [sys.executable, "-m", "kennel.cli", "demo"]
        _run(command, {**os.environ, "QUICK": "1"})
    return sorted(folder.glob("*.png"), key=_number)[:MAX_PHOTOS]


def _copy(photos: Sequence[Path], root: Path) -> Path:
    folder = root / "photos"
    folder.mkdir()
    for photo in photos:
        shutil.copyfile(photo, folder / photo.name)
    # The containers' user is not ours.
    for each in (root, *root.rglob("*")):
        each.chmod(0o755 if each.is_dir() else 0o644)
    return root


def _compose_command(env: Mapping[str, str]) -> list[str]:
    files = ["-f", "docker-compose.yml"]
    if "kennel-model-server" in env.get("MODEL_SERVER_IMAGE", ""):
        files += ["-f", "deploy/compose.embedded.yml"]
    return [*shlex.split(env.get("COMPOSE") or "docker compose"), "-p", PROJECT, *files]


def _added_megabytes() -> str:
    sizes = [_image_bytes(name) for name in (f"kennel-api:{TAG}", BASE_IMAGE)]
    if None in sizes:
        return "size over the base image unknown"
    api, base = (size or 0 for size in sizes)
    return f"API image {(api - base) / 1e6:.0f} MB over its base"


def _image_bytes(name: str) -> int | None:
    for engine in filter(shutil.which, ("docker", "podman")):
        command = [engine, "image", "inspect", "--format", "{{.Size}}", name]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            return int(answer.stdout)
    return None


def _number(file: Path) -> tuple[int, str]:
    return (int(file.stem) if file.stem.isdigit() else sys.maxsize, file.stem)


def _run(command: Sequence[str], env: Mapping[str, str], *, check: bool = True) -> None:
    click.echo(f"$ {shlex.join(command)}")
    subprocess.run(command, env=env, cwd=ROOT, check=check)


if __name__ == "__main__":
    sys.exit(main())

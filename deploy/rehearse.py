"""`make rehearse`: build the images, run the compose file, send a photo and a folder.

For real, beside a running deployment: own project, images, port, volumes and password.
The last line says what was seen. COMPOSE names the command (default: docker compose);
MODEL_SERVER_IMAGE=kennel-model-server builds and uses the embedded model server.
"""

from __future__ import annotations

import csv
import os
import secrets
import shlex
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final

import click

from kennel.api.errors import ApiError
from kennel.client import Client
from kennel.ports import choose_port
from kennel.settings import KennelSettings
from models.errors import KennelError
from models.wire.config import published_models

ROOT: Final = Path(__file__).resolve().parent.parent
PROJECT: Final = ("--project-name", "kennel-rehearsal", "--file", "docker-compose.yml")
EMBEDDED: Final = ("--file", "deploy/compose.embedded.yml")
PATIENCE_SECONDS: Final = 300.0
COMMAND_SECONDS: Final = 1800.0


def main() -> int:
    """Rehearse once; 0 if all was as promised."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    settings = KennelSettings.from_env(os.environ)
    photos = _photos(settings)
    with tempfile.TemporaryDirectory(dir=settings.home, prefix="rehearsal-") as root:
        Path(root).chmod(0o755)  # the containers' user is not ours
        Path(root, "photos").mkdir()
        for photo in photos:
            shutil.copyfile(photo, Path(root, "photos", photo.name))
        env = {
            **os.environ,
            "KENNEL_TAG": "rehearsal",
            "REDIS_PASSWORD": secrets.token_hex(16),
            "MODELS_DIR": str(settings.models_dir),
            "INPUT_ROOT": root,
            "API_BIND": "127.0.0.1",
            "API_PORT": str(choose_port(0, "127.0.0.1", "API_PORT")),
        }
        embedded = "kennel-model-server" in env.get("MODEL_SERVER_IMAGE", "")
        compose = shlex.split(env.get("COMPOSE") or "docker compose")
        compose += [*PROJECT, *(EMBEDDED if embedded else ())]
        seen, status = "rehearsal interrupted", 1
        try:
            seen, status = _rehearse(compose, env, photos), 0
        except (KennelError, OSError, subprocess.SubprocessError) as error:
            seen = f"rehearsal FAILED: {error}"
            _run([*compose, "logs", "--tail=40"], env, check=False)
        finally:
            _run([*compose, "down", "--volumes"], env, check=False)
            click.echo(seen)
    return status


def _rehearse(
    compose: Sequence[str], env: Mapping[str, str], photos: Sequence[Path]
) -> str:
    client = Client(f"http://127.0.0.1:{env['API_PORT']}")
    began = time.monotonic()
    _run([*compose, "build"], env)
    built = time.monotonic()
    _run([*compose, "up", "--detach"], env)
    _wait_for("the API is ready", lambda: client.readiness()["status"] == "ready")
    answer = client.predict(photos[:1])
    first = time.monotonic()
    label = answer.labels[-1]
    probability = answer.predictions[0].probabilities[label]
    rows = _folder_to_csv(client, label)
    if [row[0] for row in rows] != [photo.stem for photo in photos]:
        raise KennelError(f"the CSV's ids are not those of the photos: {rows}")
    if abs(float(rows[0][1]) - probability) > 0.01:
        raise KennelError(f"POST /v1/predict said {probability}, the CSV {rows[0]}")
    return (
        f"rehearsed: images built in {built - began:.0f} s ({_api_size()}), first "
        f"prediction {first - built:.0f} s after that: {answer.model} "
        f"{answer.version} says {label} {probability:.4f} of {photos[0].name}; "
        f"then {len(rows)} CSV rows, ids in order, in {time.monotonic() - first:.0f} s"
    )


def _folder_to_csv(client: Client, positive: str) -> list[list[str]]:
    job = client.submit("photos", positive=positive)
    client.wait(job.id, timeout_seconds=PATIENCE_SECONDS)
    lines = client.submission(job.id).decode().splitlines()
    return list(csv.reader(lines))[1:]


def _wait_for(event: str, has_come: Callable[[], bool]) -> None:
    deadline = time.monotonic() + PATIENCE_SECONDS
    while time.monotonic() < deadline:
        with suppress(ApiError):
            if has_come():
                return
        time.sleep(0.5)
    raise KennelError(f"waited {PATIENCE_SECONDS:g} s until {event}, in vain")


def _photos(settings: KennelSettings) -> list[Path]:
    folder = settings.home / "demo" / "data" / "test"
    if not published_models(settings.models_dir) or not folder.is_dir():
        click.echo("No model or no photos yet: the quick demo makes both.")
        _run([sys.executable, "-m", "kennel.cli", "demo", "--quick"], os.environ)
    return sorted(folder.glob("*.png"), key=lambda file: int(file.stem))[:40]


def _api_size() -> str:
    images = ("kennel-api:rehearsal", "python:3.11-slim-bookworm")
    for engine in filter(shutil.which, ("docker", "podman")):
        command = [engine, "image", "inspect", "--format={{.Size}}", *images]
        answer = subprocess.run(command, capture_output=True, text=True, check=False)
        if answer.returncode == 0:
            api, base = map(int, answer.stdout.split())
            return f"the API's adds {(api - base) / 1e6:.0f} MB to its base"
    return "the API's size over its base is not known"


def _run(command: Sequence[str], env: Mapping[str, str], *, check: bool = True) -> None:
    click.echo(f"$ {shlex.join(command)}")
    subprocess.run(command, env=env, cwd=ROOT, check=check, timeout=COMMAND_SECONDS)


if __name__ == "__main__":
    sys.exit(main())

"""`make rehearse`: the compose file for real: build, up, predict, job to CSV, down.

COMPOSE is the compose command ("docker compose" by default). MODEL_SERVER_IMAGE is the
compose file's: kennel-model-server is built here and takes TensorFlow Serving's place.
The last line says what was seen.
"""

from __future__ import annotations

import json
import os
import secrets
import shlex
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Final

from export.progress import silent
from kennel.client import ApiClient, ApiError
from kennel.jobs import download_submission, follow_job
from kennel.ports import choose_port
from kennel.settings import KennelSettings
from models.errors import KennelError
from models.wire.config import published_models

PHOTOS: Final = 40
READY_SECONDS: Final = 300.0
EMBEDDED_IMAGE: Final = "kennel-model-server"
ROOT: Final = Path(__file__).resolve().parent.parent


class Rehearsal:
    """One run of the compose file under a project name and a port of its own."""

    def __init__(self, compose: str, settings: KennelSettings, photos: Path) -> None:
        """Use the command *compose* and serve what is published on this machine."""
        port = choose_port(0, "127.0.0.1", "--port")
        self.client = ApiClient(f"http://127.0.0.1:{port}")
        self._command = [*shlex.split(compose), "-p", "kennel-rehearsal"]
        self._env = {
            **os.environ,
            "API_PORT": str(port),
            "REDIS_PASSWORD": secrets.token_urlsafe(24),
            "MODELS_DIR": str(settings.models_dir),
            "INPUT_ROOT": str(photos),
        }

    def compose(self, *arguments: str, check: bool = True) -> None:
        """Run the compose command; its output is the rehearsal's."""
        say(f"compose {' '.join(arguments)}")
        subprocess.run(
            [*self._command, *arguments], env=self._env, cwd=ROOT, check=check
        )

    def build(self) -> None:
        """Build the images, the embedded server's too if it is wanted."""
        if os.environ.get("MODEL_SERVER_IMAGE", "").endswith(EMBEDDED_IMAGE):
            self.compose("--profile", "embedded", "build", "embedded-image")
        self.compose("build", "api", "worker")

    def wait_until_ready(self) -> None:
        """Return when the API says that every part is ready."""
        deadline = time.monotonic() + READY_SECONDS
        while True:
            try:
                answer = self.client.get("/readyz")
                if answer["status"] == "ready":
                    return
                reason = json.dumps(answer)
            except ApiError as error:
                reason = str(error)
            if time.monotonic() > deadline:
                raise KennelError(f"not ready after {READY_SECONDS:g} s: {reason}")
            time.sleep(1)


def main() -> int:
    """Rehearse; 0 if all of it was seen."""
    settings = KennelSettings.from_env(os.environ)
    photos = demo_photos(settings)
    with tempfile.TemporaryDirectory(prefix="kennel-rehearsal-") as folder:
        Path(folder).chmod(0o755)
        ids = copy_photos(photos, Path(folder) / "photos")
        compose = os.environ.get("COMPOSE") or "docker compose"
        rehearsal = Rehearsal(compose, settings, Path(folder))
        try:
            seen = rehearse(rehearsal, Path(folder) / "photos", ids)
        except (KennelError, subprocess.CalledProcessError) as error:
            rehearsal.compose("logs", "--tail", "40", check=False)
            seen = f"rehearsal FAILED: {error}"
        finally:
            rehearsal.compose("down", "-v", check=False)
    say(seen)
    return 1 if "FAILED" in seen else 0


def rehearse(rehearsal: Rehearsal, photos: Path, ids: list[str]) -> str:
    """Build, start, predict, submit, compare ids; returns what was seen."""
    began = time.monotonic()
    rehearsal.build()
    built = time.monotonic() - began
    rehearsal.compose(
        "up", "-d", "redis", "model-server", "api", "worker", "reconciler"
    )
    rehearsal.wait_until_ready()
    answer = rehearsal.client.predict([photos / f"{ids[0]}.png"])
    first = time.monotonic() - began
    job = rehearsal.client.post("/v1/jobs", {"input": "photos"})
    job = follow_job(rehearsal.client, job["id"], silent)
    lines = download_submission(rehearsal.client, job).decode().splitlines()
    if [line.split(",")[0] for line in lines] != ["id", *ids]:
        raise KennelError(f"the CSV's ids are not 1 to {len(ids)}: {lines[:3]} ...")
    return (
        f"rehearsal passed: images built in {built:.0f} s, first prediction "
        f"({answer['predictions'][0]['label']}, {answer['model']} {answer['version']}) "
        f"after {first:.0f} s, job of {len(ids)} photos to a CSV of {len(lines) - 1} "
        f"rows in order, all down after {time.monotonic() - began:.0f} s"
    )


def demo_photos(settings: KennelSettings) -> Path:
    """Numbered photos for a published model; the quick demo makes both if need be."""
    photos = settings.home / "demo" / "data" / "test"
    if not photos.is_dir() or not published_models(settings.models_dir):
        say("no model is published yet: running the quick demo first")
        command = [sys.executable, "-m", "kennel.cli", "demo", "--quick"]
        subprocess.run(command, check=True, cwd=ROOT)
    return photos


def copy_photos(photos: Path, target: Path) -> list[str]:
    """Copy the first few; returns their ids in order."""
    target.mkdir()
    ids = [str(number) for number in range(1, PHOTOS + 1)]
    for each in ids:
        shutil.copyfile(photos / f"{each}.png", target / f"{each}.png")
    return ids


def say(line: str) -> None:
    """One line to the terminal, in order with what compose prints."""
    sys.stdout.write(f"{line}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    sys.exit(main())

"""The local stack, from training to a CSV: no skew, no orphan, nothing lost."""

from __future__ import annotations

import csv
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from kennel.cli import main
from kennel.client import Client
from kennel.client.answers import Job
from kennel.client.errors import ApiError
from kennel.settings import KennelSettings
from kennel.stack.local_stack import LocalStack, StackOptions
from models.errors import NotFoundError
from models.images.codec import decode_image
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from tests.fake_model_server import CARD
from tests.kennel.stack.test_supervisor import is_alive
from tests.pictures import noise
from tests.processes import wait_until
from tests.tiny_model import publish_tiny_model
from tests.training import train_small

pytestmark = [pytest.mark.tensorflow, pytest.mark.long, pytest.mark.timeout(240)]

TOLERANCE = 1e-5


@dataclass(frozen=True)
class Home:
    """A KENNEL_HOME with a published model and a folder of photos to classify."""

    path: Path
    settings: KennelSettings


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Home:
    path = tmp_path_factory.mktemp("home")
    run = train_small(path)
    from export.publication.publish import publish

    settings = KennelSettings.from_env({"KENNEL_HOME": str(path)})
    publish(run, settings.models_dir)
    test = settings.input_root / "test"
    test.mkdir(parents=True)
    for number in range(1, 41):
        (test / f"{number}.jpg").write_bytes(noise(number))
    return Home(path, settings)


@pytest.fixture(scope="module")
def stack(home: Home) -> Iterator[LocalStack]:
    options = StackOptions(port=0, model_server_port=0, redis_port=0, workers=2)
    lines: list[str] = []
    stack = LocalStack(home.settings, options, lines.append)
    try:
        stack.start()
        stack.wait_until_ready()
        with stack.tended():
            yield stack
    finally:
        stack.stop()
        sys.stdout.write("\n".join(lines))


def finished_job(client: Client, **options: Any) -> Job:
    return ended_job(client, client.submit("test", **options))


def ended_job(client: Client, job: Job) -> Job:
    return client.wait(job.id, timeout_seconds=90)


def test_one_photo_gets_one_answer_everywhere(home: Home, stack: LocalStack) -> None:
    client = Client(stack.url)
    photos = home.settings.input_root / "test"
    evaluated = evaluate_as_keras(home, photos / "7.jpg")
    card = client.models()[0]["versions"][0]["card"]
    pixels = decode_image((photos / "7.jpg").read_bytes(), tuple(card["image_size"]))
    with ModelServerClient(stack.model_server) as server:
        answer = server.predict(pixels[None], ModelRef("pets"))
    served = answer.probabilities[0]
    answered = client.predict(photos / "7.jpg").predictions[0].raw
    job = finished_job(client, format="full", clip="off")
    text = client.submission(job.id).decode()
    rows = {row["id"]: row for row in csv.DictReader(text.splitlines())}

    expected = [evaluated["cat"], evaluated["dog"]]
    assert served == pytest.approx(expected, abs=TOLERANCE)
    assert [answered["cat"], answered["dog"]] == pytest.approx(expected, abs=TOLERANCE)
    in_csv = [float(rows["7"][label]) for label in ("cat", "dog")]
    assert in_csv == pytest.approx(expected, abs=TOLERANCE)
    assert list(rows) == [str(number) for number in range(1, 41)]


def evaluate_as_keras(home: Home, photo: Path) -> dict[str, float]:
    """What `kennel evaluate --probabilities` says of *photo*."""
    folder = home.path / "labelled"
    shutil.rmtree(folder, ignore_errors=True)
    for label in ("cat", "dog"):
        (folder / label).mkdir(parents=True)
        shutil.copy(photo, folder / label / photo.name)
    done = subprocess.run(
        [
            *(sys.executable, "-m", "kennel.cli", "evaluate", "small"),
            *("--photos", str(folder)),
            *("--probabilities", str(home.path / "rows.csv")),
            "--json",
        ],
        env={**os.environ, "KENNEL_HOME": str(home.path)},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    assert json.loads(done.stdout)["images"] == 2
    with (home.path / "rows.csv").open(newline="") as stream:
        row = next(csv.DictReader(stream))
    return {label: float(row[label]) for label in ("cat", "dog")}


def test_new_version_is_served_without_a_restart(home: Home, stack: LocalStack) -> None:
    client = Client(stack.url)
    base = home.settings.models_dir / "pets"
    newest = max(int(each.name) for each in base.iterdir() if each.name.isdigit())
    shutil.copytree(base / "1", base / ".tmp-copy")

    (base / ".tmp-copy").rename(base / str(newest + 1))

    photo = home.settings.input_root / "test" / "1.jpg"
    wait_until(
        lambda: client.predict(photo).version == newest + 1, "the new version", 60
    )


def test_default_model_changes_by_command_alone(
    home: Home, stack: LocalStack, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("KENNEL_HOME", str(home.path))
    monkeypatch.setenv("KENNEL_URL", stack.url)
    client = Client(stack.url)
    photo = home.settings.input_root / "test" / "1.jpg"

    def model_of(name: str | None) -> str | None:
        try:
            return client.predict(photo, model=name).model
        except ApiError as error:
            return error.code

    def kennel(*arguments: str) -> str:
        result = CliRunner().invoke(main, arguments)
        assert result.exit_code == 0, result.output
        return result.output

    publish_tiny_model(home.settings.models_dir, 1, replace(CARD, name="ants"))
    wait_until(lambda: model_of("ants") == "ants", "the new model", 60)
    assert model_of(None) == "pets"
    kennel("default", "ants")
    wait_until(lambda: model_of(None) == "ants", "the other default model")
    kennel("default", "pets")
    wait_until(lambda: model_of(None) == "pets", "the first default model")
    kennel("remove", "ants", "--yes")
    wait_until(lambda: model_of("ants") == "model_not_found", "the removal")

    assert finished_job(client).model == "pets"
    with ModelServerClient(stack.model_server) as server:
        wait_until(lambda: not server_knows(server, "ants"), "the unloading")


def server_knows(server: ModelServerClient, name: str) -> bool:
    try:
        return bool(server.versions(name))
    except NotFoundError:
        return False


def test_restarted_model_server_leaves_the_csv_as_it_was(stack: LocalStack) -> None:
    client = Client(stack.url)
    expected = csv_of(client, finished_job(client))

    job = client.submit("test")
    os.kill(stack.pids()["model-server"], signal.SIGKILL)
    wait_until(lambda: not is_ready(client), "word that the model server is away", 5)
    again = ended_job(client, job)
    stack.wait_until_ready()

    assert csv_of(client, again) == expected


def csv_of(client: Client, job: Job) -> bytes:
    return client.submission(job.id)


@contextmanager
def kennel_up(home: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """`kennel up` on free ports as a process of its own, and the API's address."""
    ports = ("--port", "0", "--model-server-port", "0", "--redis-port", "0")
    log = home / "up.log"
    with log.open("w") as stream:
        process = subprocess.Popen(
            [sys.executable, "-m", "kennel.cli", "up", *ports, "--workers", "1"],
            env={**os.environ, "KENNEL_HOME": str(home), "PYTHONUNBUFFERED": "1"},
            stdout=stream,
            stderr=subprocess.STDOUT,
            text=True,
        )
    try:
        wait_until(lambda: "will be at" in log.read_text(), "the first line")
        found = re.search(r"http://\S+", log.read_text())
        assert found
        yield process, found.group()
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGINT)
            process.wait(60)


def descendants(pid: int) -> set[int]:
    found = set()
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                stat = (entry / "stat").read_text()
            except (FileNotFoundError, ProcessLookupError):
                continue
            if int(stat.rsplit(")", 1)[1].split()[1]) == pid:
                found |= {int(entry.name), *descendants(int(entry.name))}
    return found


def is_ready(client: Client) -> bool:
    try:
        return bool(client.readiness()["status"] == "ready")
    except ApiError:
        return False


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_job_cut_off_by_sigterm_goes_on_at_the_next_start(
    home: Home, stack: LocalStack, tmp_path: Path
) -> None:
    # A second stack beside the first one, with a home of its own.
    expected = csv_of(Client(stack.url), finished_job(Client(stack.url)))
    shutil.copytree(home.settings.models_dir / "pets/1", tmp_path / "models/pets/1")
    shutil.copytree(home.settings.input_root / "test", tmp_path / "data/test")
    with kennel_up(tmp_path) as (process, url):
        client = Client(url)
        wait_until(lambda: is_ready(client), "readiness", 60)
        family = descendants(process.pid)
        job = client.submit("test")
        process.terminate()
        assert process.wait(60) == 0

    assert len(family) >= 6
    wait_until(lambda: not any(is_alive(pid) for pid in family), "the end of all")
    with kennel_up(tmp_path) as (_, url):
        client = Client(url)
        wait_until(lambda: is_ready(client), "readiness", 60)
        assert csv_of(client, ended_job(client, job)) == expected
    log = (tmp_path / "up.log").read_text()
    assert "Traceback" not in log
    assert "oneDNN" not in log

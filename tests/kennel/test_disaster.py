"""A machine is lost during a job; another one resumes it from a backup."""

from __future__ import annotations

import json
import shutil
import signal
import sys
from pathlib import Path

import pytest
from click.testing import CliRunner

from kennel.cli import main
from kennel.client import Client
from tests.faults.ordeal import signal_all
from tests.kennel.stack.test_local_stack import descendants, is_ready, kennel_up
from tests.kennel.stack.test_supervisor import is_alive
from tests.pictures import write_folder
from tests.processes import wait_until
from tests.tiny_model import publish_tiny_model

pytestmark = [
    pytest.mark.tensorflow,
    pytest.mark.long,
    pytest.mark.timeout(240),
    pytest.mark.skipif(sys.platform != "linux", reason="reads /proc"),
]

PHOTOS = 800


def kennel(home: Path, *arguments: str) -> str:
    result = CliRunner().invoke(main, arguments, env={"KENNEL_HOME": str(home)})
    assert result.exit_code == 0, result.output
    return result.stdout


def probabilities(client: Client, photo: Path) -> dict[str, float]:
    return dict(client.predict(photo).predictions[0].raw)


def test_lost_machine_is_replaced_from_its_backup(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    lost, found = tmp_path / "lost", tmp_path / "found"
    photos = tmp_path / "data" / "test"
    write_folder(photos, PHOTOS)
    monkeypatch.setenv("INPUT_ROOT", str(photos.parent))
    publish_tiny_model(lost / "models", 1)
    photo = min(photos.iterdir())
    with kennel_up(lost) as (process, url):
        client = Client(url)
        wait_until(lambda: is_ready(client), "readiness", 90)
        before = probabilities(client, photo)
        job = client.submit("test")
        wait_until(lambda: client.job(job.id).done > 0, "progress", 60)
        made = json.loads(kennel(lost, "backup", str(tmp_path / "backups"), "--json"))
        family = [process.pid, *descendants(process.pid)]
        signal_all(family, signal.SIGKILL)
        process.wait()
        wait_until(lambda: not any(is_alive(pid) for pid in family[1:]), "their end")
    shutil.rmtree(lost)

    kennel(found, "restore", str(tmp_path / "backups"))
    restored = list((found / "runs" / job.id).rglob("*"))
    with kennel_up(found) as (_, url):
        client = Client(url)
        wait_until(lambda: is_ready(client), "readiness", 90)
        client.wait(job.id, timeout_seconds=120)
        csv = client.submission(job.id)
        again = client.wait(client.submit("test").id, timeout_seconds=120)
        quiet = client.submission(again.id)
        after = probabilities(client, photo)

    assert made["files"] > 0
    assert not [each for each in restored if each.name == "report.json"]
    assert csv == quiet
    assert after == before

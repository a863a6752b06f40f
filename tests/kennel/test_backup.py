"""Backups made while jobs run, and what is refused before harm is done."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from kennel.cli import main
from models.wire.client import ModelServerClient
from tests.conftest import RedisServer
from tests.fake_model_server import CARD, FakeModelServer
from tests.worker.world import (
    PATIENCE,
    SHARD_SIZE,
    World,
    begun_attempts,
    oracle,
    request,
    wait_until,
)
from worker.assembly import assemble_run
from worker.queue import JobStatus
from worker.run import Run
from worker.runs import all_runs
from worker.shards import finish_shard
from worker.sources.local import LocalRoot


class Home:
    """A KENNEL_HOME and a folder for its backups."""

    def __init__(self, folder: Path, backups: Path) -> None:
        self.folder = folder
        self.models = folder / "models"
        self.runs = folder / "runs"
        self.backups = backups

    def env(self) -> dict[str, str]:
        return {"KENNEL_HOME": str(self.folder), "REDIS_URL": ""}

    def kennel(self, *arguments: str) -> Result:
        return CliRunner(env=self.env()).invoke(main, arguments)

    def backup(self, *options: str) -> Path:
        result = self.kennel("backup", str(self.backups), "--json", *options)
        assert result.exit_code == 0, result.output
        return Path(json.loads(result.stdout)["backup"])

    def restore(self, source: Path | None = None, *options: str) -> Result:
        return self.kennel("restore", str(source or self.backups), *options)

    def publish(self, version: int, size: int = 1000) -> Path:
        folder = self.models / CARD.name / str(version)
        folder.mkdir(parents=True)
        (folder / "saved_model.pb").write_bytes(os.urandom(size))
        (self.models / "models.config").write_text(f"newest {version}")
        return folder

    def contents(self) -> dict[str, bytes]:
        return {
            str(path.relative_to(self.folder)): path.read_bytes()
            for path in self.folder.rglob("*")
            if path.is_file() and not path.name.startswith(".")
        }


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home(tmp_path / "home", tmp_path / "backups")


@pytest.fixture
def elsewhere(tmp_path: Path) -> Home:
    return Home(tmp_path / "elsewhere", tmp_path / "backups")


@pytest.fixture
def world(
    home: Home, redis_server: RedisServer, model_server: FakeModelServer
) -> Iterator[World]:
    made = World(home.folder, redis_server, model_server)
    yield made
    made.close()


def finish(world: World, run: Run) -> str:
    """What workers would make of a run that nobody works on."""
    folder = LocalRoot(world.input_root).folder("test")
    with ModelServerClient(world.model_server.target) as client:
        for number in run.missing_shards():
            finish_shard(run, number, folder, partial(PATIENCE.predict, client))
    if not run.is_over:
        assert assemble_run(run) == []
    return run.csv.read_text()


def has_moved(world: World, since: JobStatus) -> bool:
    now = world.queue.status(since.id)
    return (now.state, now.done) != (since.state, since.done)


def test_job_goes_on_elsewhere_with_an_empty_redis(
    world: World, home: Home, elsewhere: Home, tmp_path: Path
) -> None:
    world.photos_of(6 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 0.2
    job = world.queue.submit(request(), "monday")
    world.start_reconciler()
    world.start_worker()
    world.wait_for_progress(job)
    home.backup()
    world.close()
    world.redis.kill()
    shutil.rmtree(home.runs)
    shutil.rmtree(world.redis.folder)

    assert elsewhere.restore().exit_code == 0
    done = len(list((elsewhere.runs / job.id / "shards").glob("[0-9]*.json")))
    fresh = tmp_path / "fresh-redis"
    fresh.mkdir()
    redis = RedisServer(fresh)
    redis.start()
    later = World(elsewhere.folder, redis, world.model_server)
    later.input_root = world.input_root
    later.start_reconciler()
    later.start_worker()
    try:
        later.wait_for(job, "succeeded")
        assert later.queue.submit(request(), "monday").id == job.id
        begun = [begun_attempts(later, job, shard) for shard in range(6)]
    finally:
        later.close()
        redis.kill()

    assert later.csv(job) == expected
    assert 1 <= done < 6
    assert begun[:done] == [1] * done


def test_every_backup_of_a_running_job_ends_in_the_same_csv(
    world: World, home: Home, elsewhere: Home
) -> None:
    world.photos_of(6 * SHARD_SIZE)
    expected = oracle(world, request())
    world.model_server.delay_seconds = 0.1
    job = world.queue.submit(request())
    world.start_reconciler()
    world.start_worker()
    backups = []
    status = world.queue.status(job.id)
    while status.state != "succeeded":
        backups.append(home.backup())
        wait_until(partial(has_moved, world, status), 60)
        status = world.queue.status(job.id)
    backups.append(home.backup())

    for number, backup in enumerate(backups):
        assert elsewhere.restore(backup, *["--force"][: bool(number)]).exit_code == 0
        runs = all_runs(elsewhere.runs)
        assert [finish(world, run) for run in runs] == [expected]
    assert len(backups) > 2


def test_backup_and_restore_bring_everything_back(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    training = home.runs / "train" / "small"
    training.mkdir(parents=True)
    (training / "run.json").write_text("{}")
    (home.runs / "job" / "attempts").mkdir(parents=True)
    long_ago = time.time() - 3600
    os.utime(training / "run.json", (long_ago, long_ago))
    (home.runs / ".tmp-half").mkdir()
    backup = home.backup()
    result = elsewhere.restore()

    assert result.exit_code == 0, result.output
    assert elsewhere.contents() == home.contents()
    assert (elsewhere.runs / "job" / "attempts").is_dir()
    restored = elsewhere.runs / "train" / "small" / "run.json"
    assert restored.stat().st_mtime == pytest.approx(long_ago)
    assert not list(backup.rglob(".tmp-*"))
    assert not list(elsewhere.folder.rglob(".tmp-*"))


def test_unchanged_files_are_links_and_changed_ones_copies(home: Home) -> None:
    home.publish(1)
    first = home.backup()
    home.publish(2)
    second = home.backup()
    third = home.backup("--full")

    inodes = [
        (each / "models/pets/1/saved_model.pb").stat().st_ino
        for each in (first, second, third)
    ]
    assert inodes[0] == inodes[1] != inodes[2]
    assert (first / "models/models.config").read_text() == "newest 1"
    assert (second / "models/models.config").read_text() == "newest 2"


def test_only_the_newest_are_kept(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    backups = [home.backup("--keep", "2") for _ in range(4)]

    assert [each.exists() for each in backups] == [False, False, True, True]
    assert elsewhere.restore().exit_code == 0
    assert elsewhere.contents() == home.contents()


def test_full_disk_is_told_and_the_next_backup_goes_on(home: Home) -> None:
    home.publish(1, size=1000)
    home.publish(2, size=5_000_000)
    command = (sys.executable, "-m", "kennel.cli", "backup", str(home.backups))
    limits = (1_000_000, 1_000_000)
    run = subprocess.run(
        command,
        env={**os.environ, **home.env()},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, limits),
        capture_output=True,
        text=True,
        check=False,
    )
    names = [each.name for each in home.backups.iterdir()]
    result = home.kennel("backup", str(home.backups), "--json")

    assert run.returncode == 1
    assert "the disk that holds the backups is full" in run.stderr
    assert all(name.startswith(".tmp-") for name in names)
    assert names
    found = json.loads(result.stdout)
    assert found["copied_files"] < found["files"]
    assert not list(home.backups.glob(".tmp-*"))


def test_draft_that_lost_bytes_with_the_power_is_not_relied_on(
    home: Home, elsewhere: Home
) -> None:
    home.publish(1)
    backup = home.backup()
    copied = backup / "models/pets/1/saved_model.pb"
    copied.write_bytes(bytes(copied.stat().st_size))
    (backup / "backup.json").unlink()
    backup.rename(home.backups / ".tmp-killed")
    home.backup()

    assert elsewhere.restore().exit_code == 0
    assert elsewhere.contents() == home.contents()


def test_job_that_is_deleted_while_it_is_copied_is_left_out(
    home: Home, elsewhere: Home
) -> None:
    """All of it or nothing: the backup begins anew, and links what it had."""
    job = home.runs / "job"
    job.mkdir(parents=True)
    for number in range(4000):
        (job / f"{number}.json").write_text("{}")
    done = threading.Event()

    def delete() -> None:
        wait_until(lambda: any(home.backups.glob(".tmp-*/runs/job/1*")), 30)
        job.rename(home.runs / ".tmp-gone")
        done.set()

    deleting = threading.Thread(target=delete)
    deleting.start()
    backup = home.backup()
    deleting.join()

    assert done.is_set()
    assert not (backup / "runs" / "job").exists()
    assert elsewhere.restore().exit_code == 0


def test_links_are_named_and_not_followed(home: Home, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (home.publish(1) / "link").symlink_to(tmp_path / "secret")
    result = home.kennel("backup", str(home.backups))

    assert "models/pets/1/link" in result.stderr
    assert not list(home.backups.rglob("link"))


def test_target_must_be_a_folder_for_backups_alone(home: Home, tmp_path: Path) -> None:
    home.publish(1)
    (tmp_path / "file").write_text("")
    (tmp_path / "mine").mkdir()
    (tmp_path / "mine" / "thesis.tex").write_text("")

    inside = home.kennel("backup", str(home.models / "backups"))
    occupied = home.kennel("backup", str(tmp_path / "mine"))
    a_file = home.kennel("backup", str(tmp_path / "file"))

    assert [each.exit_code for each in (inside, occupied, a_file)] == [2, 2, 2]
    assert "another disk" in inside.stderr
    assert "thesis.tex" in occupied.stderr


def test_check_names_what_is_damaged(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    backup = home.backup()
    sound = home.kennel("backup", str(home.backups), "--check")
    damaged = backup / "models/pets/1/saved_model.pb"
    damaged.write_bytes(b"x" * damaged.stat().st_size)
    found = home.kennel("backup", str(home.backups), "--check")
    refused = elsewhere.restore()

    assert sound.exit_code == 0
    assert found.exit_code == refused.exit_code == 1
    assert "models/pets/1/saved_model.pb has another sha256" in found.stdout
    assert "saved_model.pb" in refused.stderr
    assert elsewhere.contents() == {}


@pytest.mark.parametrize("lost", ["backup.json", "files.jsonl"])
def test_half_a_backup_is_none(home: Home, elsewhere: Home, lost: str) -> None:
    home.publish(1)
    (home.backup() / lost).unlink()
    result = elsewhere.restore()

    assert result.exit_code in {1, 2}
    assert "backup" in result.stderr
    assert not elsewhere.folder.exists()


def test_occupied_home_is_replaced_only_by_force(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    home.backup()
    elsewhere.publish(7)
    before = elsewhere.contents()
    refused = elsewhere.restore()
    after = elsewhere.contents()
    forced = elsewhere.restore(None, "--force")

    assert refused.exit_code == 1
    assert "--force" in refused.stderr
    assert after == before
    assert forced.exit_code == 0
    assert elsewhere.contents() == home.contents()


def test_models_alone_leave_the_runs_as_they_are(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    (home.runs / "job").mkdir(parents=True)
    home.backup()
    (elsewhere.runs / "mine").mkdir(parents=True)
    result = elsewhere.restore(None, "--only", "models")

    assert result.exit_code == 0, result.output
    assert elsewhere.contents() == home.contents()
    assert [each.name for each in elsewhere.runs.iterdir()] == ["mine"]


def test_home_with_a_running_stack_is_refused(world: World, home: Home) -> None:
    home.publish(1)
    home.backup()
    world.start_reconciler()
    wait_until((home.runs / ".reconciler.lock").exists, 30)
    result = home.restore(None, "--force")

    assert result.exit_code == 1
    assert "stop the stack" in result.stderr

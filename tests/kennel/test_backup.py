"""Backups made while jobs run, and refusals before any damage."""

from __future__ import annotations

import json
import os
import resource
import shutil
import subprocess
import sys
import tarfile
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
    home.backup()
    result = elsewhere.restore()

    assert result.exit_code == 0, result.output
    assert elsewhere.contents() == home.contents()
    assert (elsewhere.runs / "job" / "attempts").is_dir()
    restored = elsewhere.runs / "train" / "small" / "run.json"
    assert restored.stat().st_mtime == pytest.approx(long_ago)
    assert not list(elsewhere.folder.rglob(".tmp-*"))


def test_archive_is_read_without_kennel(home: Home, tmp_path: Path) -> None:
    home.publish(1)
    (home.models / "new\nline \\.json").write_text("{}")
    backup = home.backup()
    (tmp_path / "out").mkdir()
    for command in (["tar", "xf", str(backup)], ["sha256sum", "-c", "SHA256SUMS"]):
        subprocess.run(command, cwd=tmp_path / "out", check=True, capture_output=True)

    extracted = tmp_path / "out" / "models" / "pets" / "1" / "saved_model.pb"
    original = home.models / "pets" / "1" / "saved_model.pb"
    assert extracted.read_bytes() == original.read_bytes()


def test_only_the_newest_are_kept(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    backups = [home.backup("--keep", "2") for _ in range(4)]

    assert [each.exists() for each in backups] == [False, False, True, True]
    assert elsewhere.restore().exit_code == 0
    assert elsewhere.contents() == home.contents()


def test_full_disk_is_told_and_the_next_backup_is_whole(home: Home) -> None:
    home.publish(1, size=5_000_000)
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
    left = names(home)
    (home.backups / ".tmp-2026-11-21T020000.000000Z.tar-killed").write_text("x")
    backup = home.backup()

    assert run.returncode == 1
    assert "the disk that holds the backups is full" in run.stderr
    assert left == []
    assert names(home) == [backup.name]


def test_job_that_is_deleted_while_it_is_copied_is_left_out(
    home: Home, elsewhere: Home
) -> None:
    """All of it or nothing; what comes after it is whole."""
    home.publish(1)
    for name in ("job", "later"):
        (home.runs / name).mkdir(parents=True)
    for number in range(4000):
        (home.runs / "job" / f"{number}.json").write_text("{}")
    (home.runs / "later" / "manifest.json").write_text("{}")
    done = threading.Event()

    def delete() -> None:
        wait_until(lambda: half_written(home.backups), 30)
        (home.runs / "job").rename(home.runs / ".tmp-gone")
        done.set()

    deleting = threading.Thread(target=delete)
    deleting.start()
    home.backup()
    deleting.join()

    assert done.is_set()
    assert elsewhere.restore().exit_code == 0
    assert elsewhere.contents() == {
        path: content
        for path, content in home.contents().items()
        if ".tmp-gone" not in path
    }
    assert not (elsewhere.runs / "job").exists()


def half_written(backups: Path) -> bool:
    return any(each.stat().st_size > 200_000 for each in backups.glob(".tmp-*"))


def test_links_are_named_and_not_followed(home: Home, tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("x")
    (home.publish(1) / "link").symlink_to(tmp_path / "secret")
    result = home.kennel("backup", str(home.backups))

    assert "models/pets/1/link" in result.stderr
    with tarfile.open(home.backups / names(home)[0]) as archive:
        assert not [name for name in archive.getnames() if "link" in name]


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
    with tarfile.open(backup) as archive:
        offset = archive.getmember("models/pets/1/saved_model.pb").offset_data
    with backup.open("r+b") as stream:
        stream.seek(offset)
        stream.write(b"x" * 1000)
    found = home.kennel("backup", str(home.backups), "--check")
    refused = elsewhere.restore()

    assert sound.exit_code == 0
    assert found.exit_code == refused.exit_code == 1
    assert "models/pets/1/saved_model.pb has another sha256" in found.stdout
    assert "saved_model.pb" in refused.stderr
    assert elsewhere.contents() == {}


def test_half_a_backup_is_none(home: Home, elsewhere: Home) -> None:
    home.publish(1)
    backup = home.backup()
    os.truncate(backup, backup.stat().st_size // 2)
    result = elsewhere.restore()

    assert result.exit_code == 1
    assert "no complete backup" in result.stderr
    assert elsewhere.contents() == {}


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


def names(home: Home) -> list[str]:
    return sorted(each.name for each in home.backups.iterdir())


def test_nothing_is_no_backup(home: Home) -> None:
    home.publish(1)
    home.backup()
    before = names(home)
    shutil.rmtree(home.folder)
    gone = home.kennel("backup", str(home.backups), "--keep", "1")
    (home.models / "pets").mkdir(parents=True)
    (home.runs / "job").mkdir(parents=True)
    folders = home.kennel("backup", str(home.backups), "--keep", "1", "--accept")
    first = home.kennel("backup", str(home.folder.parent / "fresh"))

    assert [each.exit_code for each in (gone, folders, first)] == [2, 2, 2]
    assert "KENNEL_HOME" in gone.stderr
    assert str(home.models) in gone.stderr
    assert [name for name in names(home) if not name.startswith(".")] == before


def test_backups_of_another_home_do_not_take_the_place_of_these(
    home: Home, elsewhere: Home
) -> None:
    home.publish(1)
    home.backup()
    before = names(home)
    elsewhere.publish(1, size=5000)
    elsewhere.publish(2, size=5000)
    refused = elsewhere.kennel("backup", str(home.backups), "--keep", "1")
    after = names(home)
    elsewhere.backup("--keep", "1", "--accept")

    assert refused.exit_code == 2
    assert "another TARGET" in refused.stderr
    assert after == before
    assert len(names(home)) == 1


@pytest.mark.parametrize("variable", ["MODELS_DIR", "RUNS_DIR"])
def test_folder_of_another_installation_is_refused_alone_too(
    home: Home, elsewhere: Home, variable: str
) -> None:
    for each in (elsewhere, home):
        each.publish(1)
        (each.runs / each.folder.name).mkdir(parents=True)
        (each.runs / each.folder.name / "manifest.json").write_text("{}")
    home.backup()
    other = elsewhere.models if variable == "MODELS_DIR" else elsewhere.runs
    runner = CliRunner(env={**home.env(), variable: str(other)})
    result = runner.invoke(main, ["backup", str(home.backups), "--keep", "1"])

    assert result.exit_code == 2
    assert f"{other} and the last backup" in result.stderr
    assert len(names(home)) == 1


def test_jobs_may_all_be_others_than_in_the_last_backup(home: Home) -> None:
    home.publish(1)
    for name in ("monday", "tuesday"):
        shutil.rmtree(home.runs, ignore_errors=True)
        (home.runs / name).mkdir(parents=True)
        (home.runs / name / "manifest.json").write_text("{}")
        home.backup("--keep", "1")

    assert len(names(home)) == 1


@pytest.mark.parametrize("lost", ["models", "runs"])
@pytest.mark.parametrize("left", [True, False], ids=["empty", "absent"])
def test_disk_that_is_not_mounted_stops_the_backup(
    home: Home, lost: str, left: bool
) -> None:
    home.publish(1)
    (home.runs / "job").mkdir(parents=True)
    (home.runs / "job" / "manifest.json").write_text("{}")
    home.backup()
    before = names(home)
    shutil.rmtree(home.folder / lost)
    if left:
        (home.folder / lost).mkdir()
    result = home.kennel("backup", str(home.backups), "--keep", "1")

    assert result.exit_code == 2
    assert f"{home.folder / lost} has no files" in result.stderr
    assert names(home) == before


def test_much_smaller_backup_pushes_no_good_one_out(home: Home) -> None:
    for version in range(1, 6):
        home.publish(version)
    good = home.backup()
    for version in range(1, 5):
        shutil.rmtree(home.models / CARD.name / str(version))
    nights = [
        home.kennel("backup", str(home.backups), "--keep", "1", "--json")
        for _ in range(3)
    ]
    made = [json.loads(each.stdout) for each in nights]
    restored = home.restore(None, "--force")
    accepted = home.backup("--keep", "1", "--accept")

    assert [each.exit_code for each in nights] == [1, 1, 1]
    assert all(Path(each["backup"]).name > good.name for each in made)
    assert all(each["removed"] == [] for each in made)
    assert good.name in made[0]["loss"]
    assert restored.exit_code == 1
    assert str(good) in restored.stderr
    assert names(home) == [accepted.name]
    assert home.backup("--keep", "1").exists()


def test_few_large_files_count_as_much_as_many_small_ones(home: Home) -> None:
    home.publish(1, size=100_000)
    for number in range(9):
        (home.models / f"{number}.json").write_text("{}")
    home.backup()
    shutil.rmtree(home.models / CARD.name)
    result = home.kennel("backup", str(home.backups), "--keep", "1")

    assert result.exit_code == 1
    assert "--accept" in result.stderr


def test_photos_of_jobs_may_go_without_a_word(home: Home) -> None:
    home.publish(1)
    photos = home.runs / "job" / "photos"
    photos.mkdir(parents=True)
    (home.runs / "job" / "manifest.json").write_text("{}")
    for number in range(20):
        (photos / f"{number}.jpg").write_bytes(bytes(1000))
    home.backup()
    shutil.rmtree(photos)

    assert home.backup("--keep", "1").name in names(home)
    assert len(names(home)) == 1


def test_check_wants_a_finished_backup(home: Home, tmp_path: Path) -> None:
    home.publish(1)
    backup = home.backup()
    (tmp_path / "nothing").mkdir()
    (tmp_path / "thesis.tex").write_text("x")
    killed = backup.rename(home.backups / ".tmp-killed")
    os.truncate(killed, 4096)
    results = [
        home.kennel("backup", str(tmp_path / place), "--check")
        for place in ("nothing", "absent", killed, "thesis.tex")
    ]

    assert [each.exit_code for each in results] == [1, 1, 1, 1]
    assert all("no complete backup" in each.stderr for each in results)
    assert not any(each.stdout for each in results)


def test_runs_are_not_replaced_by_a_backup_without_any(
    home: Home, elsewhere: Home
) -> None:
    home.publish(1)
    made = home.kennel("backup", str(home.backups))
    elsewhere.publish(7)
    (elsewhere.runs / "mine").mkdir(parents=True)
    before = elsewhere.contents()
    refused = elsewhere.restore(None, "--force")
    nothing = elsewhere.restore(None, "--force", "--only", "runs")
    after = elsewhere.contents()
    models = elsewhere.restore(None, "--force", "--only", "models")

    assert f"{home.runs} has no files" in made.stderr
    assert [each.exit_code for each in (refused, nothing, models)] == [1, 2, 0]
    assert "--only models" in refused.stderr
    assert after == before
    assert (elsewhere.runs / "mine").is_dir()


def test_restored_home_goes_on_with_the_backups_of_the_lost_one(
    home: Home, elsewhere: Home
) -> None:
    home.publish(1)
    home.backup()
    shutil.rmtree(home.folder)
    elsewhere.restore()

    assert elsewhere.backup("--keep", "1").exists()

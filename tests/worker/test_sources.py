"""Choosing between folders and object storage, and what storage may never do."""

from __future__ import annotations

import json
import subprocess
import sys
from functools import partial
from pathlib import Path

import pytest

from models.environment import read_location
from models.errors import InvalidRequestError, StorageUnavailableError
from models.wire.client import ModelServerClient
from tests.pictures import grey
from tests.worker.world import PATIENCE, SHARD_SIZE, World, request
from worker.assembly import assemble_run
from worker.runs import find_run
from worker.settings import WorkerSettings
from worker.shards import finish_shard
from worker.sources.driver import Driver, ForbiddenError, StorageRefusedError
from worker.sources.local import LocalRoot
from worker.sources.results import LocalResults
from worker.sources.roots import load_drivers, open_results, open_root
from worker.sources.waiting import Waiting

SECRET = "hush"
NEVER = Waiting(0, lambda _: True)


@pytest.mark.parametrize(
    "url",
    [
        *("s3://", "s3:///photos", f"sftp://me:{SECRET}@host/photos"),
        *(f"s3://bucket/photos?token={SECRET}", "s3://a b", "simplecache::s3://bucket"),
    ],
)
def test_url_that_cannot_be_used_is_named_by_its_setting(url: str) -> None:
    with pytest.raises(InvalidRequestError, match="INPUT_ROOT") as refused:
        WorkerSettings.from_env({"INPUT_ROOT": url})

    assert SECRET not in str(refused.value)


def test_settings_take_a_folder_or_a_url() -> None:
    both = {"INPUT_ROOT": "s3://bucket/photos", "RESULTS_URL": "file:///srv/results"}

    settings = WorkerSettings.from_env(both)

    assert settings.inputs == "s3://bucket/photos"
    assert settings.results == Path("/srv/results")
    assert WorkerSettings.from_env({}).results is None
    assert (
        read_location({"INPUT_ROOT": "photos"}, "INPUT_ROOT") == Path.cwd() / "photos"
    )


def test_root_is_local_unless_it_is_a_url(tmp_path: Path) -> None:
    assert open_root(tmp_path) == LocalRoot(tmp_path)


def test_storage_without_driver_stops_the_start() -> None:
    with pytest.raises(InvalidRequestError, match="RESULTS_URL begins with nothing://"):
        load_drivers(Path("data"), "nothing://bucket")


def test_nothing_of_fsspec_is_imported_for_folders() -> None:
    code = (
        "import sys, worker.main, worker.queue, service.app; "
        "from pathlib import Path; "
        "worker.queue.JobQueue('redis://', Path('runs'), Path('data')); "
        "assert not {'fsspec', 's3fs'} & set(sys.modules)"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_drivers_start_no_thread_before_the_fork() -> None:
    code = (
        "import threading; from pathlib import Path; "
        "from worker.sources.roots import load_drivers, open_root; "
        "load_drivers('memory://photos', None); open_root('memory://photos'); "
        "import fsspec.asyn; assert fsspec.asyn.loop == [None]; "
        "assert threading.active_count() == 1"
    )

    subprocess.run([sys.executable, "-c", code], check=True)


def test_folder_in_any_storage_that_fsspec_knows_is_read() -> None:
    import fsspec

    memory = fsspec.filesystem("memory")
    memory.pipe({"/photos/test/2.png": grey(2), "/photos/test/10.png": grey(10)})
    memory.pipe_file("/photos/test/inner/3.png", grey(3))

    folder = open_root("memory://photos").folder("./test/")

    assert sorted(folder.names().files) == ["10.png", "2.png"]
    assert folder.names().folders == ("inner",)
    assert folder.read("10.png") == grey(10)


@pytest.mark.parametrize(
    ("trouble", "expected"),
    [
        (PermissionError(f"key {SECRET}"), ForbiddenError),
        (OSError(22, SECRET), StorageRefusedError),
        (ConnectionResetError(SECRET), StorageUnavailableError),
        (TimeoutError(SECRET), StorageUnavailableError),
        (RuntimeError(SECRET), StorageUnavailableError),
        (FileNotFoundError(SECRET), FileNotFoundError),
    ],
)
def test_trouble_of_a_driver_is_explained_without_its_words(
    trouble: Exception, expected: type[Exception]
) -> None:
    def ask(_system: object, _path: str) -> None:
        raise trouble

    with pytest.raises(expected) as raised:
        Driver("memory://photos", "INPUT_ROOT").ask(ask)

    assert type(raised.value) is expected
    assert isinstance(raised.value, FileNotFoundError) or SECRET not in str(
        raised.value
    )


def test_storage_that_comes_back_is_asked_more_and_more_slowly() -> None:
    pauses: list[float] = []

    def pause(seconds: float) -> bool:
        pauses.append(seconds)
        return False

    def ask() -> str:
        if len(pauses) < 3:
            raise StorageUnavailableError("away")
        return "here"

    assert Waiting(60, pause).insist(ask) == "here"
    assert pauses == [0.2, 0.4, 0.8]


def test_storage_that_refuses_is_not_asked_again() -> None:
    def ask() -> None:
        raise StorageRefusedError("no")

    def pause(_: float) -> bool:
        raise AssertionError("waited")

    with pytest.raises(StorageRefusedError):
        Waiting(60, pause).insist(ask)


def finished_shards(world: World) -> str:
    """A job of whose shards none is missing."""
    world.photos_of(SHARD_SIZE)
    job = world.queue.submit(request())
    run, folder = find_run(world.runs_dir, job.id), LocalRoot(world.input_root)
    with ModelServerClient(world.model_server.target) as client:
        ask = partial(PATIENCE.predict, client)
        finish_shard(run, 0, folder.folder("test"), ask)
    return job.id


def test_results_are_copied_to_a_folder(world: World, tmp_path: Path) -> None:
    job = finished_shards(world)

    assert (
        assemble_run(find_run(world.runs_dir, job), LocalResults(tmp_path / "r")) == []
    )

    copies = tmp_path / "r" / job
    run = world.runs_dir / job
    for file in ("submission.csv", "report.json"):
        assert (copies / file).read_bytes() == (run / file).read_bytes()
    report = json.loads((run / "report.json").read_text())
    assert report["results"] == f"{copies.as_uri()}/"


def test_copied_results_stay_when_their_job_is_deleted(
    world: World, tmp_path: Path
) -> None:
    job = finished_shards(world)
    assemble_run(find_run(world.runs_dir, job), LocalResults(tmp_path / "r"))

    world.queue.delete(job)

    left = [path.name for path in (tmp_path / "r" / job).iterdir()]
    assert sorted(left) == ["report.json", "submission.csv"]


def test_results_of_a_job_that_was_cancelled_are_not_copied(
    world: World, tmp_path: Path
) -> None:
    job = finished_shards(world)
    world.queue.cancel(job)

    assemble_run(find_run(world.runs_dir, job), LocalResults(tmp_path / "r"))

    assert not (tmp_path / "r").exists()


def test_no_place_for_results_is_none() -> None:
    assert open_results(None, NEVER) is None

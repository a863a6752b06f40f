"""Photos that cannot be read for a while are waited for: no row of a CSV is invented."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    MissingImageError,
    StorageUnavailableError,
)
from tests.pictures import grey, write_folder
from tests.processes import no_descriptors
from tests.worker.read_errors import ReadErrors
from tests.worker.world import SHARD_SIZE, World, oracle, request
from worker.queue import JobStatus
from worker.sources.local import LocalFolder, LocalRoot
from worker.sources.source import list_photos

PHOTOS = 3 * SHARD_SIZE


@pytest.fixture
def read_errors(tmp_path: Path) -> ReadErrors:
    return ReadErrors(tmp_path)


def begun(world: World) -> JobStatus:
    """A job in mid-work, with a model that takes its time until a shard is done."""
    world.model_server.delay_seconds = 0.25
    job = world.queue.submit(request())
    world.start_reconciler()
    world.start_worker()
    world.wait_for_progress(job)
    world.model_server.delay_seconds = 0
    return job


@pytest.mark.parametrize(
    ("call", "number"),
    [("read", errno.EIO), ("open", errno.ESTALE), ("open", errno.EMFILE)],
)
def test_error_of_reading_that_passes_changes_no_row(
    world: World, read_errors: ReadErrors, call: str, number: int
) -> None:
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    world.extra_env = read_errors.env
    job = begun(world)

    with read_errors.given(call, number):
        pass

    done = world.wait_for(job, "succeeded")
    assert world.csv(job) == expected
    assert done.unreadable == 0


def unmount(folder: Path) -> Callable[[], None]:
    """Leave the empty folder below a mount point; what is returned mounts it again."""
    volume = folder.with_name("volume")
    folder.rename(volume)
    folder.mkdir()
    (folder / "NOT_MOUNTED").touch()

    def mount() -> None:
        shutil.rmtree(folder)
        # Another inode: as on another mount.
        shutil.copytree(volume, folder)

    return mount


@pytest.mark.parametrize("mount_point", ["data/test", "data"])
def test_volume_that_is_unmounted_is_waited_for_by_name(
    world: World, mount_point: str
) -> None:
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    job = begun(world)

    mount = unmount(world.input_root.parent / mount_point)
    waiting = world.wait_for_waiting(job)
    mount()
    world.end_pause(job)

    done = world.wait_for(job, "succeeded")
    assert waiting.state == "running"
    assert "the photos of 'test' are away" in str(waiting.waiting)
    assert str(world.input_root) not in str(waiting.waiting)
    assert world.csv(job) == expected
    assert (done.unreadable, done.waiting) == (0, None)


def test_job_whose_photos_stay_away_fails_and_can_go_on(world: World) -> None:
    world.photos_of(PHOTOS)
    expected = oracle(world, request())
    world.extra_env = {"MODEL_WAIT_SECONDS": "1"}
    job = world.queue.submit(request())
    mount = unmount(world.photos)
    world.start_reconciler()
    world.start_worker()
    world.wait_for_waiting(job)
    world.end_pause(job)

    failed = world.wait_for(job, "failed")

    assert "the photos could not be read for" in str(failed.error)
    assert "retry the job" in str(failed.error)
    mount()
    world.queue.retry(job.id)
    world.wait_for(job, "succeeded")
    assert world.csv(job) == expected


def test_photo_is_missing_only_from_a_folder_that_holds_another(tmp_path: Path) -> None:
    write_folder(tmp_path, 3)
    folder = LocalFolder(tmp_path, "test").of_job(
        lambda: (f"{number}.png" for number in (1, 2, 3))
    )
    (tmp_path / "1.png").unlink()

    with pytest.raises(MissingImageError):
        folder.read("1.png")

    for number in (2, 3):
        (tmp_path / f"{number}.png").unlink()
    (tmp_path / "other.png").write_bytes(grey(1))
    with pytest.raises(InvalidRequestError, match="none of the job's photos is there"):
        folder.read("1.png")


def test_photo_of_an_inner_folder_has_its_witness_there(tmp_path: Path) -> None:
    write_folder(tmp_path / "a", 2)
    write_folder(tmp_path / "b", 2)
    folder = LocalFolder(tmp_path, "test").of_job(
        lambda: (f"{inner}/{number}.png" for inner in "ab" for number in (1, 2))
    )
    (tmp_path / "a" / "1.png").unlink()
    with pytest.raises(MissingImageError):
        folder.read("a/1.png")

    (tmp_path / "a" / "2.png").unlink()

    with pytest.raises(InvalidRequestError, match="in 'a/'"):
        folder.read("a/1.png")
    shutil.rmtree(tmp_path / "a")
    with pytest.raises(InvalidRequestError, match="No such file"):
        folder.read("a/1.png")
    (tmp_path / "a").symlink_to(tmp_path / "b")
    with pytest.raises(InvalidImageError):
        folder.read("a/1.png")


@pytest.mark.parametrize("free", [0, 1])
def test_process_without_free_descriptors_blames_no_photo(
    tmp_path: Path, free: int
) -> None:
    write_folder(tmp_path / "test", 1)
    folder = LocalRoot(tmp_path).folder("test")

    with (
        no_descriptors(free),
        pytest.raises(StorageUnavailableError, match="Too many open files"),
    ):
        folder.read("1.png")

    assert folder.read("1.png") == grey(37)


def test_folder_that_cannot_be_listed_now_is_no_wrong_name(tmp_path: Path) -> None:
    write_folder(tmp_path / "test", 1)
    folder = LocalRoot(tmp_path).folder("test")

    with no_descriptors():
        with pytest.raises(StorageUnavailableError, match="'test' cannot be read now"):
            list_photos(folder)
        with pytest.raises(StorageUnavailableError):
            folder.names("test")


@pytest.mark.parametrize(("call", "number"), [("read", 5), ("open", 116)])
def test_list_of_photos_that_cannot_be_read_now_is_no_wrong_name(
    tmp_path: Path, call: str, number: int
) -> None:
    (tmp_path / "list.csv").write_text("file\n1.png\n")
    errors = ReadErrors(tmp_path, ".csv")
    code = (
        "import sys; from pathlib import Path; "
        "from worker.sheets.opening import opened_sheet; root = Path(sys.argv[1])\n"
        "with opened_sheet('manifest', 'list.csv', root, root): pass"
    )

    with errors.given(call, number):
        done = subprocess.run(
            [sys.executable, "-c", code, tmp_path],
            env={**os.environ, **errors.env},
            capture_output=True,
            text=True,
            check=False,
        )

    assert "StorageUnavailableError: 'list.csv' cannot be read now" in done.stderr

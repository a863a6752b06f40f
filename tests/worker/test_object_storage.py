"""Folders in object storage: the same CSV, whatever the storage does meanwhile."""

from __future__ import annotations

import json
import threading
import unicodedata
import uuid

import pytest

from models.errors import (
    InvalidImageError,
    InvalidRequestError,
    NotFoundError,
    StorageUnavailableError,
)
from models.images.formats import START_BYTES
from tests.pictures import grey
from tests.worker.s3 import KEY, SECRET, Bucket, S3Server, s3_server
from tests.worker.world import SHARD_SIZE, World, oracle, request, wait_until
from worker.attempts import MAX_ATTEMPTS
from worker.jobs import assemble, predict_shard
from worker.queue import JobQueue, JobStatus
from worker.sources.roots import open_root
from worker.sources.source import list_photos
from worker.sources.store import ObjectStore
from worker.sources.waiting import Waiting

PHOTOS = 24

s3 = pytest.fixture(scope="module")(s3_server)


@pytest.fixture
def bucket(s3: S3Server, monkeypatch: pytest.MonkeyPatch) -> Bucket:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    return Bucket(s3, f"photos-{uuid.uuid4().hex}")


@pytest.fixture
def remote(world: World, bucket: Bucket) -> World:
    """The world with its photos, in a local folder too, and its results in a bucket."""
    world.photos_of(PHOTOS)
    for path in world.photos.iterdir():
        bucket.put(f"test/{path.name}", path.read_bytes())
    use(world, bucket.url)
    return world


def use(world: World, url: str) -> None:
    world.extra_env = {"INPUT_ROOT": url, "RESULTS_URL": f"{url}/results"}
    world.queue = JobQueue(world.redis.url, world.runs_dir, url, shard_size=SHARD_SIZE)


def work_here(world: World, job: JobStatus, monkeypatch: pytest.MonkeyPatch) -> None:
    """Do a job's shards in this process, as a worker's child does."""
    for name, value in world.env().items():
        monkeypatch.setenv(name, value)
    for number in range(PHOTOS // SHARD_SIZE):
        predict_shard(job.id, number)


def test_csv_is_that_of_the_same_photos_in_a_folder(
    remote: World, bucket: Bucket, capfd: pytest.CaptureFixture[str]
) -> None:
    expected = oracle(remote, request())
    remote.extra_env["LOG_LEVEL"] = "debug"
    job = remote.queue.submit(request())
    remote.start_worker()

    remote.wait_for(job, "succeeded")

    run = remote.runs_dir / job.id
    report = (run / "report.json").read_bytes()
    told = capfd.readouterr().err + report.decode()
    assert remote.csv(job) == expected
    assert bucket.get(f"results/{job.id}/submission.csv") == expected.encode()
    assert bucket.get(f"results/{job.id}/report.json") == report
    assert json.loads(report)["results"] == f"{bucket.url}/results/{job.id}/"
    assert remote.queue.photo(job.id, "7") == bucket.get("test/7.png")
    assert KEY not in told
    assert SECRET not in told


def test_photos_that_change_during_the_run_are_told(
    remote: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = remote.queue.submit(request())
    bucket.delete("test/3.png")
    bucket.put("test/4.png", b"no image")
    bucket.put("test/5.png", b"")
    bucket.put("test/6.png", grey(6).ljust(32 * 1024 * 1024 + 1, b"\0"))

    work_here(remote, job, monkeypatch)

    done = remote.queue.status(job.id)
    codes = {each["file"]: each["code"] for each in done.unreadable_files}
    assert codes == {
        "3.png": "unreadable_file",
        "4.png": "unsupported_image",
        "5.png": "empty_image",
        "6.png": "too_large",
    }
    with pytest.raises(NotFoundError):
        remote.queue.photo(job.id, "3")


def test_storage_that_is_away_for_a_while_is_waited_for(
    remote: World, s3: S3Server
) -> None:
    expected = oracle(remote, request())
    remote.model_server.delay_seconds = 0.25
    job = remote.queue.submit(request())
    remote.start_worker()
    remote.wait_for_progress(job)
    with s3.away():
        remote.model_server.delay_seconds = 0
        threading.Event().wait(2)
        assert remote.queue.status(job.id).state == "running"

    done = remote.wait_for(job, "succeeded")

    assert remote.csv(job) == expected
    assert done.unreadable == 0


def test_worker_is_free_soon_when_a_waiting_job_is_cancelled(
    remote: World, s3: S3Server
) -> None:
    job = remote.queue.submit(request())
    with s3.away():
        worker = remote.start_worker()
        wait_until((remote.runs_dir / job.id / "started").exists, 30)
        remote.queue.cancel(job.id)
        worker.terminate()

        assert worker.wait(20) == 0
    assert remote.queue.status(job.id).state == "cancelled"


@pytest.mark.parametrize("status", [403, 503])
def test_storage_that_answers_with_errors_for_a_while_is_waited_for(
    remote: World, s3: S3Server, status: int
) -> None:
    expected = oracle(remote, request())
    remote.model_server.delay_seconds = 0.25
    job = remote.queue.submit(request())
    remote.start_reconciler()
    remote.start_worker()
    remote.wait_for_progress(job)
    with s3.failing(status):
        remote.model_server.delay_seconds = 0
        remote.wait_for_waiting(job)
    remote.end_pause(job)

    done = remote.wait_for(job, "succeeded")

    assert remote.csv(job) == expected
    assert done.unreadable == 0


def test_folder_that_is_gone_is_waited_for(
    remote: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    job = remote.queue.submit(request())
    for number in range(1, PHOTOS + 1):
        bucket.delete(f"test/{number}.png")

    work_here(remote, job, monkeypatch)

    status = remote.queue.status(job.id)
    assert (status.state, status.done) == ("running", 0)
    assert "no such folder" in str(status.waiting)


def test_object_that_is_forbidden_is_an_unreadable_photo(bucket: Bucket) -> None:
    bucket.put("test/1.png", grey(1))
    bucket.put("test/2.png", grey(2))
    folder = open_root(bucket.url).folder("test")
    bucket.freeze("test/1.png")

    with pytest.raises(InvalidImageError, match="access was refused"):
        folder.read("1.png")

    assert folder.read("2.png") == grey(2)


def test_results_that_cannot_be_copied_end_the_job_until_it_is_retried(
    remote: World, bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = oracle(remote, request())
    job = remote.queue.submit(request())
    work_here(remote, job, monkeypatch)
    monkeypatch.setenv("RESULTS_URL", f"s3://missing-{uuid.uuid4().hex}")
    for _ in range(MAX_ATTEMPTS):
        with pytest.raises(StorageUnavailableError, match="no such bucket"):
            assemble(job.id)
    assemble(job.id)

    failed = remote.queue.status(job.id)
    assert "the service's storage cannot be used" in str(failed.error)
    assert not (remote.runs_dir / job.id / "submission.csv").exists()
    monkeypatch.setenv("RESULTS_URL", f"{bucket.url}/results")
    remote.queue.retry(job.id)
    assemble(job.id)
    assert remote.csv(job) == expected
    assert bucket.get(f"results/{job.id}/submission.csv") == expected.encode()


def test_no_bucket_starts_nothing(world: World, bucket: Bucket) -> None:
    use(world, "s3://there-is-no-such-bucket")

    with pytest.raises(StorageUnavailableError, match="no such bucket"):
        world.queue.submit(request())

    assert world.queue.jobs() == []


def test_wrong_keys_start_nothing_and_stay_secret(
    remote: World, s3: S3Server, caplog: pytest.LogCaptureFixture
) -> None:
    denied = pytest.raises(StorageUnavailableError, match="refused")
    with s3.locked(), caplog.at_level("INFO"), denied as refused:
        remote.queue.submit(request())

    told = f"{refused.value} {caplog.text}"
    assert remote.queue.jobs() == []
    assert KEY not in told
    assert SECRET not in told


def test_storage_that_is_away_refuses_a_submit(remote: World, s3: S3Server) -> None:
    with s3.away(), pytest.raises(StorageUnavailableError, match="INPUT_ROOT"):
        remote.queue.submit(request())

    assert remote.queue.jobs() == []


def test_listing_goes_on_past_a_page(s3: S3Server, bucket: Bucket) -> None:
    s3.tell(f"fill {bucket.name} below/many 1500")

    listing = list_photos(open_root(bucket.url).folder("many"))

    assert [item.id for item in listing.items] == [str(n) for n in range(1500)]


def test_keys_that_stand_for_folders_are_no_photos(bucket: Bucket) -> None:
    odd = ("", "marked/", "/odd.png", ".hidden", "1.png?versionId=2")
    for key in (*odd, "1.png", "inner/2.png", "a.txt"):
        bucket.put(f"test/{key}", b"x" if key and not key.endswith("/") else b"")

    listing = list_photos(open_root(bucket.url).folder("test"))

    assert [item.file for item in listing.items] == ["1.png"]
    assert listing.ignored == ("1.png?versionId=2", "a.txt", "inner", "marked")


def test_only_unknown_endings_are_looked_into(
    bucket: Bucket, monkeypatch: pytest.MonkeyPatch
) -> None:
    for key in ("1.png", "2", "3.mov"):
        bucket.put(f"test/{key}", grey(2) if key == "2" else b"x" * 9999)
    asked: list[tuple[str, int]] = []
    read = ObjectStore.read

    def watched(store: ObjectStore, name: str, max_bytes: int) -> bytes:
        asked.append((name, max_bytes))
        return read(store, name, max_bytes)

    monkeypatch.setattr(ObjectStore, "read", watched)
    listing = list_photos(open_root(bucket.url).folder("test"))

    assert [item.file for item in listing.items] == ["1.png", "2"]
    assert listing.ignored == ("3.mov",)
    assert sorted(asked) == [("test/2", START_BYTES), ("test/3.mov", START_BYTES)]


def test_only_prefix_below_is_taken(bucket: Bucket) -> None:
    bucket.put("test/fastai/unknown/1.png", grey(1))
    bucket.put("test/.DS_Store", b"x")
    folder = open_root(bucket.url).folder("test")

    listing = list_photos(folder)

    assert listing.items == (("1", "fastai/unknown/1.png"),)
    assert folder.read("fastai/unknown/1.png") == grey(1)


def test_names_of_objects_are_compared_in_nfc(bucket: Bucket) -> None:
    nfd = unicodedata.normalize("NFD", "café")
    bucket.put(f"{nfd}/{nfd}.png", grey(1))

    folder = open_root(bucket.url).folder("café")

    assert list_photos(folder).items == (("café", f"{nfd}.png"),)
    assert folder.read(f"{nfd}.png") == grey(1)


@pytest.mark.parametrize(
    "name", ["missing", "1.png", "..", "/", ".", "a/../b", "test?versionId=1"]
)
def test_name_that_is_no_folder_is_refused(bucket: Bucket, name: str) -> None:
    bucket.put("1.png", b"x")
    bucket.put("test/1.png", b"x")

    with pytest.raises(InvalidRequestError) as refused:
        open_root(bucket.url).folder(name)

    assert refused.value.code == "invalid_input"
    assert bucket.name not in str(refused.value)


def test_told_to_stop_gives_up_at_once(bucket: Bucket, s3: S3Server) -> None:
    folder_of = open_root(bucket.url, Waiting(60, lambda _: True)).folder
    with s3.away(), pytest.raises(StorageUnavailableError):
        folder_of("test")

"""Uploads through real gunicorn and real workers: no byte lost, no file left behind."""

from __future__ import annotations

import http.client
import json
import os
import resource
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Iterator, Mapping
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

import pytest

from kennel.client import Client
from tests.conftest import RedisServer
from tests.pictures import grey, noise
from tests.processes import free_port, is_listening, running, wait_until
from tests.service.served_model import ServedModel
from tests.worker.packing import tarred, zipped

PHOTOS = {f"{number}.jpg": noise(number) for number in range(1, 41)}


def settings_of(served: ServedModel, redis: RedisServer, home: Path) -> dict[str, str]:
    return {
        **os.environ,
        "PORT": str(free_port()),
        "WEB_WORKERS": "1",
        "MODEL_SERVER": served.target,
        "MODEL_NAMES": "pets",
        "KENNEL_HOME": str(home),
        "REDIS_URL": redis.url,
        "RECONCILE_SECONDS": "0.2",
    }


@pytest.fixture
def env(
    served: ServedModel, redis_server: RedisServer, tmp_path: Path
) -> dict[str, str]:
    return settings_of(served, redis_server, tmp_path)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, str]]:
    """The settings of an API and a worker that run while the module's tests do."""
    home = tmp_path_factory.mktemp("site")
    redis = RedisServer(home)
    redis.start()
    with ServedModel() as served:
        env = settings_of(served, redis, home)
        with api(env), running("worker.main", env=env, log=home / "worker.log"):
            yield env
    redis.kill()


@contextmanager
def api(env: Mapping[str, str]) -> Iterator[subprocess.Popen[bytes]]:
    log = Path(env["KENNEL_HOME"], "api.log")
    with running("service.main", env=env, log=log) as process:
        wait_until(lambda: is_listening(int(env["PORT"])), "gunicorn listens")
        yield process


def ask(
    env: Mapping[str, str], method: str, path: str, body: bytes = b"", kind: str = ""
) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection("127.0.0.1", int(env["PORT"]), timeout=60)
    with closing(connection):
        connection.request(method, path, body, {"Content-Type": kind} if kind else {})
        response = connection.getresponse()
        return response.status, response.read()


def post_archive(env: Mapping[str, str], archive: bytes) -> tuple[int, Any]:
    status, answer = ask(env, "POST", "/v1/jobs", archive, "application/zip")
    return status, json.loads(answer)


def finished_csv(env: Mapping[str, str], job: str) -> bytes:
    def ended() -> bool:
        state = json.loads(ask(env, "GET", f"/v1/jobs/{job}")[1])["state"]
        return state in {"succeeded", "failed", "cancelled"}

    wait_until(ended, "the end of the job")
    status, csv = ask(env, "GET", f"/v1/jobs/{job}/submission.csv")
    assert status == 200, csv
    return csv


def runs(env: Mapping[str, str]) -> list[str]:
    """What lies in RUNS_DIR, but for the reconciler's lock."""
    folder = Path(env["KENNEL_HOME"], "runs")
    if not folder.is_dir():
        return []
    return [each.name for each in folder.iterdir() if each.name != ".reconciler.lock"]


def test_upload_gives_the_csv_of_the_same_folder(site: dict[str, str]) -> None:
    photos = Path(site["KENNEL_HOME"], "data", "test")
    photos.mkdir(parents=True)
    for name, content in PHOTOS.items():
        (photos / name).write_bytes(content)
    before = len(runs(site))

    by_name = ask(site, "POST", "/v1/jobs", b'{"input": "test"}', "application/json")
    expected = finished_csv(site, json.loads(by_name[1])["id"])
    inside = {f"some/test/{name}": content for name, content in PHOTOS.items()}
    for archive in (zipped(inside), tarred(PHOTOS, "w:gz")):
        status, accepted = post_archive(site, archive)
        assert status == 202
        assert finished_csv(site, accepted["id"]) == expected
    with Client(f"http://127.0.0.1:{site['PORT']}") as client:
        job = client.wait(client.submit(photos).id)
        assert client.submission(job.id) == expected
    status, scores = ask(site, "GET", f"/v1/jobs/{job.id}/scores")
    thumbnail = json.loads(scores)["uncertain"][0]["thumbnail"]

    assert ask(site, "GET", thumbnail)[0] == 200
    assert len(runs(site)) == before + 4
    assert expected.count(b"\n") == 41


def test_csv_is_the_samples_to_the_letter(site: dict[str, str]) -> None:
    home = Path(site["KENNEL_HOME"])
    inner = home / "data" / "sampled" / "more"
    inner.mkdir(parents=True)
    for number in range(1, 41):
        (inner.parent if number % 2 else inner).joinpath(f"{number}.png").write_bytes(
            grey(6 * number)
        )
    order = [*range(40, 0, -2), *range(1, 41, 2)]
    listed = [f"{'' if id_ % 2 else 'more/'}{id_}.png,x{id_}" for id_ in order[::-1]]
    (home / "list.csv").write_text("\n".join(["img,id", *listed]))
    rows = [f"x{id_},0.5" for id_ in order]
    sample = home / "sample.csv"
    sample.write_bytes("\r\n".join(["\ufeffImage Id,P (dog)", *rows]).encode())

    with Client(f"http://127.0.0.1:{site['PORT']}") as client:
        accepted = client.submit(
            "sampled",
            manifest=home / "list.csv",
            sample_submission=sample,
            clip="off",
        )
        job = client.wait(accepted.id)
        csv = client.submission(job.id).decode()

    expected = [f"x{id_},{6 * id_ / 255:.6f}" for id_ in order]
    head, *written = csv.splitlines()
    assert head == "Image Id,P (dog)"
    assert [f"{row[:-11]},{float(row[-10:]):.6f}" for row in written] == expected


def children(pid: int) -> list[int]:
    listing = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    return [int(child) for child in listing.split()]


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_kill_in_the_middle_of_unpacking_leaves_nothing(env: dict[str, str]) -> None:
    photo = os.urandom(2000)
    archive = zipped({f"{number}.jpg": photo for number in range(10_000)})
    home = Path(env["KENNEL_HOME"])

    def unpacking() -> bool:
        return any(home.glob("runs/.tmp-*/photos/*.jpg"))

    with api(env) as process:
        sending = threading.Thread(target=send_in_vain, args=(env, archive))
        sending.start()
        wait_until(unpacking, "unpacking")
        for pid in [process.pid, *children(process.pid)]:
            os.kill(pid, signal.SIGKILL)
        sending.join()
    left = runs(env)
    with running("worker.reconciler", env=env, log=home / "reconciler.log"):
        wait_until(lambda: runs(env) == [], "an empty folder of runs")

    assert [name.startswith(".tmp-") for name in left] == [True]


def send_in_vain(env: Mapping[str, str], archive: bytes) -> None:
    with suppress(OSError, http.client.HTTPException):
        post_archive(env, archive)


def test_upload_that_breaks_off_leaves_nothing(site: dict[str, str]) -> None:
    before = len(runs(site))
    archive = zipped(PHOTOS)
    head = (
        "POST /v1/jobs HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/zip\r\n"
        f"Content-Length: {len(archive)}\r\n\r\n"
    )

    with socket.create_connection(("127.0.0.1", int(site["PORT"]))) as connection:
        connection.sendall(head.encode() + archive[:-1])
    # The API is as before, and has forgotten it.
    assert post_archive(site, archive)[0] == 202

    assert len(runs(site)) == before + 1


@pytest.mark.skipif(sys.platform != "linux", reason="limits another process")
def test_full_disk_is_told_and_leaves_nothing(env: dict[str, str]) -> None:
    limit = 300_000

    with api(env) as process:
        wait_until(lambda: children(process.pid), "a worker")
        for pid in children(process.pid):
            resource.prlimit(pid, resource.RLIMIT_FSIZE, (limit, limit))
        status, problem = post_archive(env, bytes(2 * limit))

    assert (status, problem["code"]) == (507, "insufficient_storage")
    assert "disk has no room" in problem["detail"]
    assert env["KENNEL_HOME"] not in problem["detail"]
    assert runs(env) == []

"""F23, F24, F32: photos that change or crash decoders, and names that lead outside."""

from __future__ import annotations

import csv
import os
from pathlib import Path

import pytest

from tests.faults.api import api_of
from tests.faults.photos import BAD, GOOD
from tests.pictures import grey
from tests.worker.world import (
    SHARD_SIZE,
    World,
    oracle,
    request,
)

GIGABYTE = 1024**3
PRIOR = ["0.50000000", "0.50000000"]


def delete(photo: Path) -> None:
    photo.unlink()


def truncate(photo: Path) -> None:
    os.truncate(photo, 40)


def empty(photo: Path) -> None:
    os.truncate(photo, 0)


def link(photo: Path) -> None:
    outside = photo.parents[2] / "outside.png"
    outside.write_bytes(grey(255))
    photo.unlink()
    photo.symlink_to(outside)


def fifo(photo: Path) -> None:
    photo.unlink()
    os.mkfifo(photo)


def folder(photo: Path) -> None:
    photo.unlink()
    photo.mkdir()


def huge(photo: Path) -> None:
    os.truncate(photo, 5 * GIGABYTE)


CHANGES = (delete, truncate, empty, link, fifo, folder, huge)


def test_photos_that_change_get_the_prior_and_are_listed(world: World) -> None:
    world.photos_of(2 * SHARD_SIZE)
    expected = list(csv.reader(oracle(world, request(format="full")).splitlines()))
    job = world.queue.submit(request(format="full", max_unreadable="50%"))
    for number, change in enumerate(CHANGES, start=1):
        change(world.photos / f"{number}.png")
    world.start_reconciler()
    world.start_worker()

    status = world.wait_for(job, "succeeded", 60)

    rows = list(csv.reader(world.csv(job).splitlines()))
    listed = [each["file"] for each in status.to_json()["unreadable_files"]]
    assert sorted(listed) == [f"{n}.png" for n in range(1, len(CHANGES) + 1)]
    assert all(row[-2:] == PRIOR for row in rows[1 : len(CHANGES) + 1])
    assert rows[len(CHANGES) + 1 :] == expected[len(CHANGES) + 1 :]


def test_photos_that_change_can_end_the_job_by_name(world: World) -> None:
    world.photos_of(2 * SHARD_SIZE)
    job = world.queue.submit(request(on_unreadable="fail"))
    for number, change in enumerate(CHANGES, start=1):
        change(world.photos / f"{number}.png")
    world.start_reconciler()
    world.start_worker()

    error = str(world.wait_for(job, "failed", 60).error)

    assert all(f"{n}.png" in error for n in range(1, len(CHANGES) + 1))
    assert str(world.input_root) not in error


def test_each_kind_of_bad_photo_has_its_code_and_spoils_no_other(world: World) -> None:
    world.photos.mkdir(parents=True)
    for name, (content, _) in {**BAD, **GOOD}.items():
        (world.photos / name).write_bytes(content)
    world.start_reconciler()
    worker = world.start_worker()
    job = world.queue.submit(request(format="full", clip=None, max_unreadable="100%"))

    status = world.wait_for(job, "succeeded", 60)

    found = {
        each["file"]: each["code"] for each in status.to_json()["unreadable_files"]
    }
    rows = {row[0]: row for row in csv.reader(world.csv(job).splitlines())}
    assert found == {name: code for name, (_, code) in BAD.items()}
    for name, (_, level) in GOOD.items():
        dog = float(rows[Path(name).stem][-1])
        assert level is None or dog == pytest.approx(level, abs=0.01), name
    assert worker.poll() is None


def test_name_with_a_comma_stays_one_cell(world: World) -> None:
    world.photos.mkdir(parents=True)
    (world.photos / 'a,"b".png').write_bytes(grey(90))
    (world.photos / "=1+1.png").write_bytes(grey(90))

    rows = list(csv.reader(oracle(world, request(format="full")).splitlines()))

    assert sorted(row[0] for row in rows[1:]) == ["=1+1", 'a,"b"']
    assert {len(row) for row in rows} == {len(rows[0])}


TRAVERSALS = (
    *("..", "../outside", "test/../../outside", "/etc", "te\0st", "te\\..\\st"),
    *("way-out", "way-out/deeper", "pipe", "photo.png", "loop", "x" * 5000, " ", "."),
)


@pytest.mark.parametrize("name", TRAVERSALS)
def test_nothing_outside_the_root_can_be_named(world: World, name: str) -> None:
    world.photos_of(1)
    outside = world.input_root.parent / "outside"
    (outside / "deeper").mkdir(parents=True)
    (outside / "secret.png").write_bytes(grey(9))
    (world.input_root / "way-out").symlink_to(outside)
    (world.input_root / "loop").symlink_to(world.input_root / "loop")
    (world.input_root / "photo.png").write_bytes(grey(9))
    os.mkfifo(world.input_root / "pipe")
    with api_of(world) as api:
        response = api.post("/v1/jobs", json={"input": name})
        listed = api.get("/v1/jobs").get_json()["jobs"]

    answer = response.get_json()
    assert (response.status_code, answer["code"]) == (422, "invalid_input")
    assert str(world.input_root) not in answer["detail"]
    assert listed == []


def test_link_among_the_photos_is_left_out_and_told(world: World) -> None:
    world.photos_of(2)
    (world.input_root.parent / "secret.png").write_bytes(grey(9))
    (world.photos / "3.png").symlink_to(world.input_root.parent / "secret.png")
    os.mkfifo(world.photos / "4.png")
    world.start_reconciler()
    world.start_worker()
    job = world.queue.submit(request())

    world.wait_for(job, "succeeded")

    report = (world.runs_dir / job.id / "report.json").read_text()
    assert [line.split(",")[0] for line in world.csv(job).splitlines()[1:]] == [
        "1",
        "2",
    ]
    assert '"3.png"' in report
    assert '"4.png"' in report

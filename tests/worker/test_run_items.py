"""Where a run keeps its images: a shard reads its own, older runs are read as well."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import NotFoundError
from tests.worker.made_runs import create_run
from tests.worker.world import SHARD_SIZE, World, oracle, request
from worker.attempts import give_up, shard_work
from worker.items import Item, Listing
from worker.manifest import render_manifest
from worker.photos import read_photo
from worker.run import Run
from worker.run_folder import now
from worker.run_items import find_item, shard_items
from worker.runs import find_run
from worker.sources.local import LocalRoot

NAMES = ("1", '2","x', "drei", "4]", "ünf", "6", "7")


def run_of(folder: Path, shard_size: int = 3) -> Run:
    items = tuple(Item(name, f"{name}.jpg") for name in NAMES)
    files = render_manifest("job", request(), Listing(items, ()), now(), shard_size)
    return create_run(folder, "job", files)


def as_schema_1(run: Run) -> None:
    """Make *run* one that the first version of this program left behind."""
    path = run.folder / "manifest.json"
    content = json.loads(path.read_text())
    items = [
        list(item)
        for number in range(run.manifest.shard_count)
        for item in shard_items(run, number)
    ]
    path.unlink()
    path.write_text(json.dumps({**content, "schema": 1, "items": items}))
    (run.folder / "items.jsonl").unlink()
    (run.folder / "items.index").unlink()


def test_each_shard_has_its_images_in_order(tmp_path: Path) -> None:
    run = run_of(tmp_path)

    shards = [shard_items(run, number) for number in range(3)]

    assert [item.id for shard in shards for item in shard] == list(NAMES)
    assert [len(shard) for shard in shards] == [3, 3, 1]


@pytest.mark.parametrize("image_id", NAMES)
def test_image_is_found_by_its_id(tmp_path: Path, image_id: str) -> None:
    assert find_item(run_of(tmp_path), image_id) == (image_id, f"{image_id}.jpg")


def test_unknown_id_is_not_found(tmp_path: Path) -> None:
    assert find_item(run_of(tmp_path), "6.jpg") is None


def test_manifest_of_a_large_job_stays_small(tmp_path: Path) -> None:
    items = tuple(Item(str(each), f"{each}.jpg") for each in range(20_000))
    files = render_manifest("job", request(), Listing(items, ()), now(), 128)

    run = create_run(tmp_path, "job", files)

    assert (run.folder / "manifest.json").stat().st_size < 2_000
    assert shard_items(run, 150)[0].id == str(150 * 128)


@pytest.mark.parametrize("name", ["items.jsonl", "items.index"])
def test_damaged_list_is_said_to_be(tmp_path: Path, name: str) -> None:
    run = run_of(tmp_path)
    (run.folder / name).write_bytes(b"[")

    with pytest.raises(NotFoundError, match="images is damaged"):
        shard_items(run, 1)


def test_damaged_list_ends_the_run(tmp_path: Path) -> None:
    run = run_of(tmp_path)
    (run.folder / "items.index").unlink()

    give_up(run, shard_work(1))

    assert "shard 1" in json.loads(run.failure.read_text())["reason"]


def test_run_of_the_version_before_is_finished(world: World) -> None:
    world.photos_of(3 * SHARD_SIZE)
    expected = oracle(world, request())
    job = world.queue.submit(request())
    run = find_run(world.runs_dir, job.id)
    as_schema_1(run)

    world.start_worker()
    world.wait_for(job, "succeeded")

    assert world.csv(job) == expected
    assert read_photo(run, LocalRoot(world.input_root), "7")
    assert world.queue.scores(job.id)["images"] == 3 * SHARD_SIZE


def test_manifest_of_the_version_before_is_understood(tmp_path: Path) -> None:
    folder = tmp_path / "old"
    folder.mkdir()
    (folder / "manifest.json").write_text(
        '{"schema": 1, "job": "old", "created": "2026-11-20T10:00:00.000+00:00", '
        '"request": {"model": "pets", "version": 3, "labels": ["cat", "dog"], '
        '"image_size": [224, 224], "input": "test", "format": "kaggle-binary", '
        '"clip": 0.95, "on_unreadable": "prior", "positive": null, "pin": null, '
        '"archive": null}, "total": 3, "shard_size": 2, "ignored": [], '
        '"ignored_count": 0, '
        '"items": [["1", "1.jpg"], ["2", "2.jpg"], ["10", "10.jpg"]]}'
    )

    run = Run(folder)

    assert shard_items(run, 1) == (("10", "10.jpg"),)
    assert find_item(run, "2") == ("2", "2.jpg")

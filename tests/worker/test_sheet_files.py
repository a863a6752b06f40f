"""Which files a job may name: its lists, and the photos that those list."""

from __future__ import annotations

import os
from pathlib import Path
from typing import BinaryIO

import pytest

from models.errors import InvalidImageError, InvalidRequestError
from tests.pictures import grey
from tests.worker.world import World, items_of, request
from worker.items import Names
from worker.queue import Sheets
from worker.runs import find_run
from worker.sheets.reading import MAX_SHEET_BYTES
from worker.sources.local import LocalFolder


@pytest.fixture(autouse=True)
def photos(world: World) -> None:
    world.photos_of(3)


def test_file_below_the_root_can_be_named(world: World) -> None:
    (world.input_root / "lists").mkdir()
    (world.input_root / "lists" / "two.CSV").write_text("file\n3.png\n1.png\n")

    job = world.queue.submit(request(), None, Sheets(manifest="lists/two.CSV"))

    assert [id_ for id_, _ in items_of(find_run(world.runs_dir, job.id))] == ["3", "1"]


@pytest.mark.parametrize(
    "path",
    [
        *("", "missing.csv", "../a.csv", "/etc/a.csv", "secret.txt", "a\0.csv"),
        *("folder.csv", "pipe.csv", "link.csv", "way/a.csv", "x" * 5000 + ".csv"),
    ],
)
def test_file_that_may_not_be_named_is_refused(world: World, path: str) -> None:
    root, outside = world.input_root, world.input_root.parent / "outside"
    outside.mkdir()
    for folder, name in ((root, "secret.txt"), (outside, "a.csv")):
        (folder / name).write_text("file\n1.png\n")
    (root / "folder.csv").mkdir()
    os.mkfifo(root / "pipe.csv")
    (root / "link.csv").symlink_to(outside / "a.csv")
    (root / "way").symlink_to(outside)

    with pytest.raises(InvalidRequestError) as refused:
        world.queue.submit(request(), None, Sheets(manifest=path))

    assert refused.value.code == "invalid_input"
    assert str(root) not in str(refused.value)


def sparse(path: Path) -> BinaryIO:
    with path.open("wb") as stream:
        stream.truncate(MAX_SHEET_BYTES + 1)
    return path.open("rb")


def test_enormous_file_is_refused(world: World) -> None:
    with sparse(world.input_root / "big.csv") as sent:
        for given in (sent, "big.csv"):
            with pytest.raises(InvalidRequestError) as refused:
                world.queue.submit(request(), None, Sheets(manifest=given))

            assert refused.value.code == "too_large"


def test_photos_in_folders_are_found_and_read(world: World) -> None:
    inner = world.photos / "cats" / "young"
    inner.mkdir(parents=True)
    (inner / "a.png").write_bytes(grey(7))
    (inner / "notes.txt").touch()
    (inner / "link.png").symlink_to(inner / "a.png")
    photos = LocalFolder(world.photos, "test")

    assert sorted(photos.names("cats/young").files) == ["a.png", "notes.txt"]
    assert photos.names("cats/young").others == ("link.png",)
    assert photos.names("cats/old") == Names()
    assert photos.names("1.png") == Names()
    assert photos.read("cats/young/a.png") == grey(7)


@pytest.mark.parametrize("link", ["cats", "cats/young", "cats/young/a.png"])
def test_what_becomes_a_link_during_the_run_is_not_read(
    world: World, link: str
) -> None:
    inner = world.photos / "cats" / "young"
    inner.mkdir(parents=True)
    (inner / "a.png").write_bytes(grey(7))
    moved = world.photos.parent / "moved"
    (world.photos / link).rename(moved)
    (world.photos / link).symlink_to(moved)
    photos = LocalFolder(world.photos, "test")

    with pytest.raises(InvalidImageError) as refused:
        photos.read("cats/young/a.png")

    assert refused.value.code == "unreadable_file"
    assert link == "cats/young/a.png" or photos.names("cats/young") == Names()

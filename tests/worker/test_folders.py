"""Which folders are taken, which files are images, and in what order."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from worker.items import Listing
from worker.sources.local import LocalFolder, LocalRoot
from worker.sources.source import list_photos


def listing_of(folder: Path) -> Listing:
    return list_photos(LocalFolder(folder, "test"))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    root = tmp_path / "data"
    (root / "test" / "inner").mkdir(parents=True)
    (root / "file.jpg").write_bytes(b"x")
    (tmp_path / "secret").mkdir()
    (root / "way-out").symlink_to(tmp_path / "secret")
    (root / "way-in").symlink_to(root / "test")
    (root / "loop").symlink_to(root / "loop")
    return root


@pytest.mark.parametrize(
    "name",
    [
        *("", " ", ".", "./", "..", "../secret", "test/../../secret", "test/.."),
        *("/", "/etc", "test\0", "te\\st", "test\n", "missing", "file.jpg"),
        *("way-out", "way-out/x", "loop", "x" * 5000, "\udcff"),
    ],
)
def test_folder_outside_the_root_is_refused(root: Path, name: str) -> None:
    with pytest.raises(InvalidRequestError) as refused:
        LocalRoot(root).folder(name)

    assert refused.value.code == "invalid_input"
    assert str(root.parent) not in str(refused.value)


@pytest.mark.parametrize("name", ["test", "test/", "./test", "test/inner", "way-in"])
def test_folder_inside_the_root_is_taken(root: Path, name: str) -> None:
    assert LocalRoot(root).folder(name).path.is_relative_to(root / "test")


def test_order_is_numbers_then_natural(tmp_path: Path) -> None:
    names = ["10.png", "b2.jpg", "9.jpg", "b10.jpg", "a.jpg", "1.jpg", "img_2.v1.jpg"]
    for name in names:
        (tmp_path / name).touch()

    ids = [item.id for item in listing_of(tmp_path).items]

    assert ids == ["1", "9", "10", "a", "b2", "b10", "img_2.v1"]


def test_what_is_no_image_is_left_out_and_told(tmp_path: Path) -> None:
    left_out = ["Thumbs.db", "labels.CSV", "readme.md", "notes.txt", "meta.json"]
    for name in [*left_out, "1.jpg", ".hidden.jpg", ".DS_Store"]:
        (tmp_path / name).touch()
    (tmp_path / "folder").mkdir()
    (tmp_path / "link.jpg").symlink_to(tmp_path / "1.jpg")
    os.mkfifo(tmp_path / "pipe.jpg")

    listing = listing_of(tmp_path)

    assert [item.file for item in listing.items] == ["1.jpg"]
    assert set(listing.ignored) == {*left_out, "folder", "link.jpg", "pipe.jpg"}


@pytest.mark.parametrize(
    ("first", "second"), [("7.jpg", "7.png"), ("7.jpg", "07.jpg"), ("a.jpg", "a.png")]
)
def test_two_files_of_one_id_are_named(tmp_path: Path, first: str, second: str) -> None:
    for name in (first, second):
        (tmp_path / name).touch()

    with pytest.raises(InvalidRequestError) as refused:
        listing_of(tmp_path)

    assert first in str(refused.value)
    assert second in str(refused.value)


@pytest.mark.parametrize("name", [b"a\nb.jpg", b"\xff.jpg", b"a\x7f.jpg"])
def test_name_that_no_csv_can_hold_is_refused(tmp_path: Path, name: bytes) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).touch()

    with pytest.raises(InvalidRequestError, match="rename the file"):
        listing_of(tmp_path)


def test_empty_folder_is_refused(tmp_path: Path) -> None:
    (tmp_path / "readme.md").touch()

    with pytest.raises(InvalidRequestError, match="holds no image"):
        listing_of(tmp_path)

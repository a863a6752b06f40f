"""Folders are walked alike by prepare and train: links, system files, part names."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.data.cache import PixelSource, cached_pixels
from export.data.sources.files import part_of
from export.data.splits import list_photos
from export.progress import silent
from models.errors import InvalidRequestError
from tests.export.data.small_sources import (
    SPLIT,
    kinds_of,
    parts_of,
    prepared,
    write_tree,
)


@pytest.mark.parametrize(
    ("name", "part"),
    [
        *(
            (name, "train")
            for name in ("Train", "training_set", "seg_train", "trainset")
        ),
        *(
            (name, "train")
            for name in ("TrainImages", "train_images", "imgs-train-256")
        ),
        *((name, "valid") for name in ("val", "VALID", "Validation", "dev", "val2017")),
        *((name, "test") for name in ("test1", "TEST_SET", "seg_pred", "Unlabelled")),
        *((name, None) for name in ("trainer", "cat", "predator", "latest", "invalid")),
        ("train_valid_test", None),
    ],
)
def test_part_is_known_by_its_name(name: str, part: str | None) -> None:
    assert part_of(name) == part


def test_files_of_the_system_are_ignored_by_prepare_and_train(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    names = ("__MACOSX/cat/._1.jpg", "cat/._1.jpg", "dog/Thumbs.db", ".DS_Store")
    for name in (*names, "#recycle/1.jpg", "cat/@Recycle/1.jpg", "lost+found/1.jpg"):
        (source / name).parent.mkdir(parents=True, exist_ok=True)
        (source / name).write_bytes(b"\0\5\x16\7")

    assert parts_of(source, strict=True) == SPLIT
    assert len(list_photos(source)) == 16


def test_photos_are_known_by_suffix_or_else_by_their_bytes(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "cat" / "0.png").rename(source / "cat" / "0.JFIF")
    (source / "cat" / "1.png").rename(source / "cat" / "without suffix")
    (source / "cat" / "2.png").rename(source / "cat" / "2.photo")
    (source / "dog" / "8.HEIC").write_bytes(b"\0\0\0\x18ftypheic" + b"\0" * 90)
    (source / "dog" / "9.tif").write_bytes(b"II*\0" + b"\0" * 90)

    assert len(list_photos(source)) == 18
    assert parts_of(source) == SPLIT
    unreadable = kinds_of(source)["unreadable photo"]
    assert [text.partition(":")[0] for text in unreadable] == [
        "dog/8.HEIC",
        "dog/9.tif",
    ]
    assert "HEIC photo" in unreadable[0]


def test_links_are_followed_alike_by_prepare_and_train(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", dog=8)
    store = write_tree(tmp_path / "store", other=8, cat=8)
    (source / "cat").symlink_to(store / "cat")
    (source / "dog" / "0.png").rename(store / "f00")
    (source / "dog" / "0.png").symlink_to(store / "f00")
    (source / "dog" / "gone.png").symlink_to(store / "gone")
    (source / "dog" / "again").symlink_to(source)
    (source / "twice").symlink_to(source / "dog")

    assert parts_of(source) == SPLIT
    photos = list_photos(source)
    files = [source / each.file for each in photos]
    pixels = PixelSource("all", files, [each.sha256 for each in photos], (8, 8))
    assert len(cached_pixels(pixels, tmp_path / "cache", silent)) == 16
    kinds = kinds_of(source)
    assert kinds["link to nothing"] == ("dog/gone.png",)
    assert kinds["link to a folder that is listed already"] == ("dog/again", "twice")
    with pytest.raises(InvalidRequestError, match="--move"):
        prepared(source, dest=tmp_path / "moved", transfer="move")


def test_link_to_a_folder_around_the_source_is_not_followed(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "cat" / "up").symlink_to(tmp_path)

    assert "link to a folder around the source" in kinds_of(source)

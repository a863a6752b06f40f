"""Splits: stratified, seeded, written down."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.data.photos import list_photos, read_split, split_photos
from models.errors import DatasetError


def make_classes(folder: Path, **counts: int) -> Path:
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            (folder / label / f"{number}.png").write_bytes(f"{label}{number}".encode())
    return folder


def test_split_is_stratified_and_complete(tmp_path: Path) -> None:
    photos = list_photos(make_classes(tmp_path, cat=40, dog=20))

    split = split_photos(tmp_path, photos, 0.25, seed=3)

    assert split.counts()["valid"] == {"cat": 10, "dog": 5}
    assert {*split.train, *split.valid} == set(photos)
    assert len(split.train) + len(split.valid) == len(photos)


def test_same_seed_gives_the_same_split_and_another_seed_another(
    tmp_path: Path,
) -> None:
    photos = list_photos(make_classes(tmp_path, cat=40, dog=20))

    first = split_photos(tmp_path, photos, 0.25, seed=3)

    assert split_photos(tmp_path, photos[::-1], 0.25, seed=3) == first
    assert split_photos(tmp_path, photos, 0.25, seed=4).valid != first.valid


def test_manifest_is_read_back_and_its_digest_follows_the_content(
    tmp_path: Path,
) -> None:
    folder = make_classes(tmp_path / "photos", cat=8, dog=8)
    split = split_photos(folder, list_photos(folder), 0.25, seed=1)

    split.write(tmp_path / "split.json")

    assert read_split(tmp_path / "split.json") == split
    (folder / "cat" / "0.png").write_bytes(b"another photo")
    changed = split_photos(folder, list_photos(folder), 0.25, seed=1)
    assert changed.digest() != split.digest()


@pytest.mark.parametrize(
    ("counts", "complaint"),
    [
        ({}, "at least two"),
        ({"cat": 4}, "at least two"),
        ({"a": 3, "b": 0}, "no photo"),
    ],
)
def test_folder_that_cannot_be_trained_on_is_refused(
    tmp_path: Path, counts: dict[str, int], complaint: str
) -> None:
    make_classes(tmp_path, **counts)

    with pytest.raises(DatasetError, match=complaint):
        list_photos(tmp_path)


def test_class_too_small_to_split_is_named(tmp_path: Path) -> None:
    photos = list_photos(make_classes(tmp_path, cat=40, dog=1))

    with pytest.raises(DatasetError, match="'dog' has 1 photos"):
        split_photos(tmp_path, photos, 0.25, seed=1)


def test_broken_manifest_is_refused(tmp_path: Path) -> None:
    (tmp_path / "split.json").write_text('{"schema": 1, "train": 7}')

    with pytest.raises(DatasetError, match="not a split manifest"):
        read_split(tmp_path / "split.json")

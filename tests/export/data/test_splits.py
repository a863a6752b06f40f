"""Splits and folds: stratified, seeded, recorded in the plan."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from export.data.splits import (
    Photo,
    Split,
    find_split,
    held_out_rows,
    join_parts,
    list_photos,
    read_split,
    split_photos,
)
from models.errors import DatasetError
from tests.export.data.small_sources import prepared, write_flat


def make_classes(folder: Path, **counts: int) -> Path:
    for label, count in counts.items():
        (folder / label).mkdir(parents=True)
        for number in range(count):
            (folder / label / f"{number}.png").write_bytes(f"{label}{number}".encode())
    return folder


def photos_of(*labels_and_groups: tuple[str, str]) -> list[Photo]:
    return [
        Photo(f"{number}.jpg", label, f"sha {number}", group)
        for number, (label, group) in enumerate(labels_and_groups)
    ]


PHOTOS = tuple(photos_of(*[("cat", "")] * 6, *[("dog", "")] * 6))
FOLDED = Split("photos", ("cat", "dog"), 1, "stratified", PHOTOS[3:], PHOTOS[:3])


def test_split_is_stratified_and_complete(tmp_path: Path) -> None:
    photos = list_photos(make_classes(tmp_path, cat=40, dog=20))

    split = split_photos(tmp_path, photos, 0.25, seed=3)

    assert split.counts()["valid"] == {"cat": 10, "dog": 5}
    assert {*split.train, *split.valid} == set(photos)
    assert len(split.train) + len(split.valid) == len(photos)


def test_photos_that_train_and_validate_in_turn_are_counted_once(
    tmp_path: Path,
) -> None:
    split = split_photos(
        tmp_path, list_photos(make_classes(tmp_path, cat=9, dog=6)), 0.34, seed=3
    )
    photos = (*split.train, *split.valid)

    counts = replace(split, train=photos, valid=photos).counts()

    assert counts == {"cross-validated": {"cat": 9, "dog": 6}}


def test_duplicates_are_of_one_group_that_is_written_down(tmp_path: Path) -> None:
    folder = make_classes(tmp_path / "photos", cat=9, dog=6)
    (folder / "cat" / "twin.png").write_bytes(b"cat3")

    find_split(folder, 0.34, seed=3).write(tmp_path / "split.json")

    split = read_split(tmp_path / "split.json")
    groups = {photo.file: photo.group for photo in (*split.train, *split.valid)}
    assert groups["cat/twin.png"] == groups["cat/3.png"] != ""
    assert groups["cat/0.png"] == ""


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


def test_prepared_folder_keeps_its_split(tmp_path: Path) -> None:
    made = prepared(write_flat(tmp_path / "redux"))

    split = find_split(made.folder, 0.5, seed=9)

    assert split.counts()["valid"] == {"cat": 5, "dog": 5}
    assert split.seed == 42
    assert {photo.file for photo in split.train} == {
        file.file for file in made.manifest.part("train")
    }
    assert split.train[0].file.startswith("train/")


def test_prepared_folder_with_a_missing_photo_is_refused(tmp_path: Path) -> None:
    made = prepared(write_flat(tmp_path / "redux"))
    (made.folder / made.manifest.part("train")[0].file).unlink()

    with pytest.raises(DatasetError, match="1 files"):
        find_split(made.folder, 0.5, seed=9)


def test_train_and_valid_folders_are_a_split(tmp_path: Path) -> None:
    make_classes(tmp_path / "train", cat=6, dog=6)
    make_classes(tmp_path / "valid", cat=2, dog=3)

    split = find_split(tmp_path, 0.5, seed=9)

    assert split.counts() == {
        "train": {"cat": 6, "dog": 6},
        "valid": {"cat": 2, "dog": 3},
    }


def test_exact_duplicates_stay_in_one_part(tmp_path: Path) -> None:
    folder = make_classes(tmp_path, cat=20, dog=20)
    for number in range(0, 20, 2):
        twin = (folder / "cat" / f"{number + 1}.png").read_bytes()
        (folder / "cat" / f"{number}.png").write_bytes(twin)

    split = find_split(folder, 0.25, seed=3)

    hashes = [{photo.sha256 for photo in part} for part in (split.train, split.valid)]
    assert not hashes[0] & hashes[1]
    assert 4 <= split.counts()["valid"]["cat"] <= 6


def test_class_folders_are_split_like_their_list(tmp_path: Path) -> None:
    folder = make_classes(tmp_path, cat=20, dog=20)

    split = find_split(folder, 0.25, seed=3)

    assert split == split_photos(folder, list_photos(folder), 0.25, seed=3)


def test_duplicates_and_groups_stay_in_one_fold() -> None:
    drivers = [(label, f"driver {n}") for n in range(9) for label in ("cat", "dog")] * 3
    photos = photos_of(*drivers, *[("cat", "")] * 9)
    photos[-1] = replace(photos[-1], sha256=photos[0].sha256)
    folds = held_out_rows(photos, 3, seed=1)

    groups = [{photos[row].group for row in fold} - {""} for fold in folds]
    assert sorted(map(len, groups)) == [3, 3, 3]
    assert len(set().union(*groups)) == 9
    assert [{len(photos) - 1, 0} <= set(fold) for fold in folds].count(True) == 1
    assert max(map(len, folds)) - min(map(len, folds)) <= 1


def test_prepared_duplicates_are_cross_validated() -> None:
    grouping = "not stratified, grouped by subject, exact duplicates together"
    joined = join_parts(replace(FOLDED, grouping=grouping), folds=3)

    assert joined.train == joined.valid
    assert joined.grouping == (
        "stratified, grouped by subject, exact duplicates together, 3 folds"
    )


def test_folders_of_the_user_are_not_mixed_in_folds() -> None:
    with pytest.raises(DatasetError, match="use --folds 0, or kennel prepare"):
        join_parts(replace(FOLDED, grouping="folders train and valid"), folds=3)


def test_class_of_too_few_photos_names_the_folds_that_do() -> None:
    photos = photos_of(*[("cat", "")] * 9, ("dog", "a"), ("dog", "a"), ("dog", "b"))
    split = replace(FOLDED, train=tuple(photos), valid=())

    with pytest.raises(DatasetError, match=r"'dog' has 2 photos or groups.* --folds 2"):
        join_parts(split, folds=5)

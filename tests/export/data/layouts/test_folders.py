"""Trees of folders as they are handed out: right classes and parts, the rest told."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest
from PIL import Image

from export.data.cache import PixelSource, cached_pixels
from export.data.layouts.collect import SourceOptions
from export.data.prepare import StrictError
from export.data.sources.files import part_of
from export.data.splits import find_split, list_photos
from export.progress import silent
from models.errors import DatasetError, InvalidRequestError
from tests.export.data.small_sources import photo, prepared, write_tree


def parts_of(source: Path, **changes: object) -> dict[str, dict[str, int]]:
    """Photos by part and label, samples left out; a flat part's label is ""."""
    made = prepared(source, sample_train=0, sample_valid=0, **changes)
    return made.manifest.counts()


def kinds_of(source: Path) -> dict[str, tuple[str, ...]]:
    made = prepared(source, sample_train=0, sample_valid=0)
    return {finding.kind: finding.examples for finding in made.manifest.findings}


SPLIT = {"train": {"cat": 6, "dog": 6}, "valid": {"cat": 2, "dog": 2}}
TREES: dict[str, tuple[dict[str, int], dict[str, dict[str, int]]]] = {
    "Intel": (
        {
            "seg_train__seg_train__cat": 8,
            "seg_train__seg_train__dog": 8,
            "seg_test__seg_test__cat": 2,
            "seg_test__seg_test__dog": 1,
            "seg_pred__seg_pred": 4,
        },
        {**SPLIT, "test": {"": 3}, "unlabelled": {"": 4}},
    ),
    "Udemy": (
        {
            "dataset__training_set__cat": 8,
            "dataset__training_set__dog": 8,
            "dataset__test_set__cat": 1,
            "dataset__test_set__dog": 1,
        },
        {**SPLIT, "test": {"": 2}},
    ),
    "chest x-ray": (
        {
            "xray__train__cat": 6,
            "xray__train__dog": 6,
            "xray__val__cat": 2,
            "xray__val__dog": 2,
            "xray__test__cat": 3,
            "xray__test__dog": 3,
        },
        {**SPLIT, "test": {"": 6}},
    ),
    "Kaggle, nested in itself": (
        {"train__train__cat_": 8, "train__train__dog_": 8, "test1__test1": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "other case": (
        {"TRAIN__cat": 8, "TRAIN__dog": 8, "Testing": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "two training folders": (
        {"Train1__cat": 4, "Train1__dog": 4, "Train2__cat": 4, "Train2__dog": 4},
        SPLIT,
    ),
    "training folder of another name": (
        {"images__cat": 8, "images__dog": 8, "test__cat": 1, "test__dog": 1},
        {**SPLIT, "test": {"": 2}},
    ),
    "train and validation in one": (
        {"train_val__cat": 8, "train_val__dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "wrapped three times": ({"a__b__c__cat": 8, "a__b__c__dog": 8}, SPLIT),
    "test folder outside": (
        {"data__train__cat": 8, "data__train__dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test folder beside the classes": (
        {"cat": 8, "dog": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test folder beside flat names": (
        {"cat_": 8, "dog_": 8, "test": 30},
        {**SPLIT, "test": {"": 30}},
    ),
    "test photos below a folder called unknown": (
        {"train__cat": 8, "train__dog": 8, "test__unknown": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test photos beside a folder of classes": (
        {"labelled__cat": 8, "labelled__dog": 8, "unlabelled": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "test photos beside a folder of flat names": (
        {"images__cat_": 8, "images__dog_": 8, "test": 3},
        {**SPLIT, "test": {"": 3}},
    ),
    "classes of photos with masks and without": (
        {"masks": 8, "no masks": 8},
        {"train": {"masks": 6, "no masks": 6}, "valid": {"masks": 2, "no masks": 2}},
    ),
    "parts in each class": (
        {"cat__train": 8, "dog__train": 8, "cat__test": 1, "dog__test": 1},
        {**SPLIT, "test": {"": 2}},
    ),
    "folders in a class": ({"cat__young": 4, "cat__old": 4, "dog": 8}, SPLIT),
    "class that sounds like a part": (
        {"train__cat": 8, "train__test_tube": 8},
        {"train": {"cat": 6, "test_tube": 6}, "valid": {"cat": 2, "test_tube": 2}},
    ),
    "two classes, one called test": (
        {"control": 8, "test": 8},
        {"train": {"control": 6, "test": 6}, "valid": {"control": 2, "test": 2}},
    ),
}


@pytest.mark.parametrize("name", TREES)
def test_parts_and_classes_are_told_apart(tmp_path: Path, name: str) -> None:
    folders, expected = TREES[name]

    assert parts_of(write_tree(tmp_path / "src", **folders)) == expected


@pytest.mark.parametrize("name", ["Intel", "chest x-ray", "Kaggle, nested in itself"])
def test_train_sees_what_prepare_sees(tmp_path: Path, name: str) -> None:
    folders, expected = TREES[name]

    split = find_split(write_tree(tmp_path / "src", **folders), 0.25, seed=1)

    assert split.counts() == {part: expected[part] for part in ("train", "valid")}


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


def test_labelled_test_part_keeps_its_truth(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path / "src",
        train__cat=8,
        train__dog=8,
        test__cat=2,
        test__dog=1,
    )
    (source / "test" / "dog" / "1.jpg").write_bytes(photo(900))

    made = prepared(source)

    with (made.folder / "truth.csv").open() as stream:
        truth = {row["id"]: row["label"] for row in csv.DictReader(stream)}
    # Equal ids would be one row: files are told apart by name without suffix.
    assert truth == {"0": "0", "1": "0", "test-dog-0": "1", "test-dog-1": "1"}
    assert {path.stem for path in (made.folder / "test").iterdir()} == set(truth)


def test_classes_that_are_there_twice_are_merged_and_told(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", flowers__rose=8, flowers__tulip=8)
    for path in list(source.rglob("*.png")):
        copy = source / "flowers" / path.relative_to(source)
        copy.parent.mkdir(parents=True, exist_ok=True)
        copy.write_bytes(path.read_bytes())

    made = prepared(source)

    assert made.manifest.labels == ("rose", "tulip")
    kinds = {finding.kind: finding.examples for finding in made.manifest.findings}
    assert kinds["folder that holds the classes beside it again"] == (
        "flowers/flowers",
    )
    assert any(kind.startswith("exact duplicates") for kind in kinds)


def test_parts_that_are_there_twice_count_once(tmp_path: Path) -> None:
    source = write_tree(
        tmp_path / "src",
        x__train__cat=8,
        x__train__dog=8,
        x__x__train__cat=3,
        x__x__train__dog=3,
    )

    assert parts_of(source) == SPLIT
    examples = kinds_of(source)["photo beside the folders of the parts"]
    assert len(examples) == 6


LEFTOVERS: dict[str, tuple[dict[str, int], str, int]] = {
    "photos beside class folders": (
        {"cat": 8, "dog": 8, "photo_": 2},
        "photo beside the class folders",
        2,
    ),
    "class folders beside flat names": (
        {"train__cat_": 8, "train__dog_": 8, "train__cat": 2},
        "photo that is not named as the others are",
        2,
    ),
    "a class of the test part only": (
        {"train__cat": 8, "train__dog": 8, "test__cat": 1, "test__cow": 2},
        "test photo of a class that is not in train",
        2,
    ),
    "validation photos without labels": (
        {"train__cat": 8, "train__dog": 8, "valid": 3},
        "photo without a label",
        3,
    ),
    "folders in a class": (
        {"cat__young": 4, "cat__old": 4, "dog": 8},
        "class folder of folders",
        1,
    ),
    "a folder that holds one class again": (
        {"cat": 8, "dog": 8, "old__cat": 8},
        "class folder of folders",
        1,
    ),
    "folders around folders in a class": (
        {"cat__a__young": 4, "cat__a__old": 4, "dog": 8},
        "class folder of folders",
        1,
    ),
    "masks beside the images of each class": (
        {"cat__images": 8, "cat__masks": 8, "dog__images": 8, "dog__masks": 8},
        "mask or annotation of a photo",
        16,
    ),
    "trimaps below annotations": (
        {"images__cat": 8, "images__dog": 8, "annotations__trimaps": 3},
        "mask or annotation of a photo",
        3,
    ),
    "validation photos in a folder that is no class": (
        {"train__cat": 8, "train__dog": 8, "val__images": 3},
        "photo without a label",
        3,
    ),
}


@pytest.mark.parametrize("name", LEFTOVERS)
def test_what_is_left_out_is_told_and_refused_by_strict(
    tmp_path: Path, name: str
) -> None:
    folders, kind, count = LEFTOVERS[name]
    source = write_tree(tmp_path / "src", **folders)

    with pytest.raises(StrictError, match=f"{count} {kind}"):
        prepared(source, strict=True)
    assert len(kinds_of(source)[kind]) == count


def test_every_file_is_taken_or_told(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "cat" / "0.xml").write_text("<box/>")
    (source / "fish").mkdir()
    (source / "fish" / "1.mp4").write_bytes(b"\0\0\0\x20ftypisom")
    (source / "code.rar").write_bytes(b"Rar!")
    (source / "sample_submission.csv").write_text("id,label\n1,0.5\n")

    made = prepared(source)

    kinds = {each.kind: each.examples for each in made.manifest.findings}
    assert kinds == {
        "empty class folder": ("fish",),
        "archive that was not opened": ("code.rar",),
        "file that is no photo": ("cat/0.xml", "fish/1.mp4"),
    }
    assert made.manifest.found == {
        "layout": "classes",
        "files": 20,
        "taken": 16,
        "left_out": 3,
        "parts": {"": "train"},
    }


def test_masks_named_as_their_photos_are_left_out(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    for name in ("cat/1_mask.png", "cat/1_mask_1.png", "dog/2_segmentation.png"):
        (source / name).write_bytes(photo(len(name)))
    (source / "dog" / "blue_mask.png").write_bytes(photo(900))
    (source / "dog" / "cow.png").write_bytes(photo(901))
    (source / "dog" / "segmentation").mkdir()
    (source / "dog" / "segmentation" / "cow.gif").write_bytes(photo(902))

    kinds = kinds_of(source)

    assert len(kinds["mask or annotation of a photo"]) == 4
    assert len(list_photos(source)) == 18


def test_layout_classes_takes_the_outer_folders(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat__a=4, cat__b=4, dog__a=4, dog__b=4)

    assert parts_of(source, source_options=SourceOptions("classes")) == SPLIT


def test_photos_that_cannot_be_read_are_named_where_no_classes_are_left(
    tmp_path: Path,
) -> None:
    source = write_tree(tmp_path / "src", cat=2, dog=2)
    for path in (source / "cat").iterdir():
        path.write_bytes(b"P6\n1 1\n255\n123")

    with pytest.raises(
        DatasetError, match=r"2 photos cannot be read \(cat/0.png: .*PPM"
    ):
        prepared(source)


def test_one_class_says_what_was_left_out(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", images=8)
    (source / "labels.csv.gz").write_bytes(b"\x1f\x8b")
    (source / "x.zip.001").write_bytes(b"PK")

    with pytest.raises(DatasetError, match=r"2 archive that was not .*'labels.csv.gz'"):
        prepared(source)


def test_list_of_photos_that_are_there_twice_is_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", train__train=8, train_cropped=8)
    rows = [f"{number},{number % 2}" for number in range(8)]
    (source / "labels.csv").write_text("\n".join(["image,level", *rows]))

    with pytest.raises(
        DatasetError, match=r"several times .line 2: 0 is 'train/train/0"
    ):
        prepared(source)


def test_list_of_some_photos_that_says_what_the_folders_say_does_not_count(
    tmp_path: Path,
) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    rows = [
        f"{label}/{number}.png,{label}"
        for label in SPLIT["train"]
        for number in range(6)
    ]
    (source / "train.csv").write_text("\n".join(["path,label", *rows]))

    assert parts_of(source) == SPLIT


def test_column_of_parts_is_no_column_of_labels(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", photos=12)
    rows = [f"{number},{number % 3}" for number in range(12)]
    (source / "eval.csv").write_text("\n".join(["image_id,partition", *rows]))

    with pytest.raises(DatasetError, match=r"eval\.csv has no label column"):
        prepared(source)


def test_list_counts_where_the_folders_are_no_classes(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", val=8, test=3)
    rows = [f"val/{number}.png,{number % 2}" for number in range(8)]
    (source / "labels.csv").write_text("\n".join(["path,label", *rows]))

    made = prepared(source)

    assert len(made.manifest.part("train")) + len(made.manifest.part("valid")) == 8


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


@pytest.mark.parametrize(
    ("folders", "words"),
    [
        ({"cat": 8}, r"1 class \('cat'\)"),
        ({"train": 8}, "8 photos have no label"),
        ({"train": 8, "test": 3}, "11 photos have no label"),
        ({"val__cat": 8, "test__cat": 8}, "no training part beside"),
        (
            {"a__train__c": 2, "a__train__d": 2, "b__train__c": 2, "b__train__d": 2},
            "'a', 'b' each hold parts",
        ),
        (
            {"train__cat": 8, "train__dog": 8, "valid__cat": 2},
            "'dog' has training photos only",
        ),
        ({"trainA": 8, "trainB": 8, "testA": 8, "testB": 8}, "no labelled photos"),
        ({"train": 8, "train_cropped": 8}, "16 photos have no label"),
        (
            {"images_001__images": 8, "images_002__images": 8},
            "16 photos have no label. Folders that differ in a number only",
        ),
        (
            {"color__cat": 4, "color__dog": 4, "grey__cat": 4, "grey__dog": 4},
            "'color', 'grey' hold the same folders .'cat', 'dog'.*--layout classes",
        ),
        (
            {"cat": 8, "dog": 8, "pets__cat": 4, "pets__dog": 4, "pets__cow": 4},
            "'pets' holds folders with the names of those beside it .'cat', 'dog'. and others",
        ),
        (
            {"Cat": 8, "Dog": 8, "archive__pets__cat": 4, "archive__pets__dog": 4},
            "'archive' holds folders with the names of those beside it .'cat', 'dog'. and others",
        ),
        (
            {"a__images__cat": 4, "a__images__dog": 4, "b__b__cat": 4, "b__b__dog": 4},
            "'a', 'b' hold the same folders",
        ),
    ],
)
def test_what_cannot_be_told_apart_is_refused_by_name(
    tmp_path: Path, folders: dict[str, int], words: str
) -> None:
    source = write_tree(tmp_path / "src", **folders)

    for refuse in (prepared, lambda folder: find_split(folder, 0.25, seed=1)):
        with pytest.raises(DatasetError, match=words):
            refuse(source)


def test_list_of_camera_names_counts_more_than_their_beginnings(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cam1_=8, cam2_=8)
    names = sorted(path.name for path in source.iterdir())
    rows = [f"{name},{('cat', 'dog')[row % 2]}" for row, name in enumerate(names)]
    (source / "labels.csv").write_text("\n".join(["img,label", *rows]))

    made = prepared(source, strict=True)

    assert made.manifest.labels == ("cat", "dog")
    assert made.manifest.labelled_by.startswith("labels.csv")


def test_list_of_few_photos_does_not_count_and_is_told(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    (source / "notes.csv").write_text("img,label\ncat/0.png,a\ndog/1.png,b\n")

    assert parts_of(source) == SPLIT
    assert kinds_of(source)["CSV file not taken"] == ("notes.csv labels fewer photos",)


def test_list_keeps_the_parts_that_the_folders_are(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", train=12, valid=4, test=3)
    paths = sorted(path.relative_to(source) for path in source.rglob("*.png"))
    rows = [f"{path},{('cat', 'dog')[row % 2]}" for row, path in enumerate(paths)]
    (source / "labels.csv").write_text("\n".join(["path,label", *rows]))

    made = prepared(source, strict=True)

    sizes = {part: len(made.manifest.part(part)) for part in ("train", "valid", "test")}
    assert sizes == {"train": 12, "valid": 4, "test": 3}
    assert (made.folder / "truth.csv").exists()


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


@pytest.mark.parametrize("how", ["copies", "black photos of two sizes"])
def test_photos_that_are_all_the_same_are_refused(tmp_path: Path, how: str) -> None:
    source = write_tree(tmp_path / "src", cat=8, dog=8)
    for number, path in enumerate(sorted(source.rglob("*.png"))):
        if how == "copies":
            path.write_bytes(photo(1))
        else:
            Image.new("RGB", (10 + number % 2, 10)).save(path)

    with pytest.raises(DatasetError, match="all 16 photos are the same"):
        prepared(source)


def test_classes_of_the_same_photos_are_refused(tmp_path: Path) -> None:
    source = write_tree(tmp_path / "src", cat=8, cow=8, dog=8)
    for path in (source / "cat").iterdir():
        (source / "dog" / path.name).write_bytes(path.read_bytes())

    for refuse in (prepared, lambda folder: find_split(folder, 0.25, seed=1)):
        with pytest.raises(DatasetError, match="'cat' and 'dog' hold the same photos"):
            refuse(source)

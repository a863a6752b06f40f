"""Checks of photos: problems are found, reported, and refused with --strict."""

from __future__ import annotations

import errno
import io
import json
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from export.data.checks import find_similar_pairs, scan_photos
from export.data.manifest import read_manifest
from export.data.prepare import Prepared, StrictError
from export.data.sources.archives import Archives
from export.data.sources.files import FileOrigin, SourceFile, SourcePhoto
from export.data.sources.reading import read_encoded
from export.data.splits import find_split, list_photos, read_split
from export.progress import silent
from models.errors import DatasetError
from tests.export.data.small_sources import photo, prepared, write_flat, write_tree
from tests.pictures import encoded
from tests.worker.read_errors import ReadErrors


def kinds(made: Prepared) -> dict[str, int]:
    return {finding.kind: finding.count for finding in made.manifest.findings}


def write_classes(folder: Path, **counts: int) -> Path:
    for first, (label, count) in enumerate(counts.items()):
        (folder / label).mkdir(parents=True)
        for number in range(count):
            path = folder / label / f"{number}.png"
            path.write_bytes(photo(first * 1000 + number))
    return folder


def test_clean_photos_have_no_findings(tmp_path: Path) -> None:
    assert kinds(prepared(write_flat(tmp_path / "redux"), strict=True)) == {}


def test_unreadable_photo_is_listed_and_left_out(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    broken = source / "train" / "cat.3.png"
    broken.write_bytes(broken.read_bytes()[:200])
    (source / "train" / "dog.1.png").write_bytes(b"")

    made = prepared(source)

    assert kinds(made) == {"unreadable photo": 2}
    names = {Path(file.file).name for file in made.manifest.files}
    assert not names & {"cat.3.png", "dog.1.png"}
    assert len(made.manifest.part("train")) + len(made.manifest.part("valid")) == 38


def test_odd_folders_are_reported_and_are_no_classes(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", cat=50, dog=50, odd=2)
    (source / ".ipynb_checkpoints").mkdir()
    (source / ".ipynb_checkpoints" / "1.png").write_bytes(photo(7777))
    (source / "results").mkdir()

    made = prepared(source)

    assert made.manifest.labels == ("cat", "dog", "odd")
    assert kinds(made) == {
        "hidden folder": 1,
        "empty class folder": 1,
        "tiny class": 1,
    }


def test_names_alike_but_for_case_are_reported(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", Cat=8, cat=8, dog=8)
    (source / "dog" / "a.PNG").write_bytes(photo(7000))
    (source / "dog" / "a.png").write_bytes(photo(7001))

    found = kinds(prepared(source))

    assert found == {
        "labels alike but for case": 1,
        "file names alike but for case": 1,
    }


def test_one_class_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="at least two"):
        prepared(write_flat(tmp_path / "redux", dogs=0))


def test_photos_that_leave_no_class_are_named_with_their_fault(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux", cats=3, dogs=3, test=0)
    for path in (source / "train").iterdir():
        path.write_bytes(b"II*\0")

    with pytest.raises(
        DatasetError, match=r"6 photos cannot be read .train/cat.0.png: .*TIFF"
    ):
        prepared(source)


def test_two_photos_are_refused_by_the_class_that_is_too_small(tmp_path: Path) -> None:
    with pytest.raises(DatasetError, match="class 'cat' has 1 photos"):
        prepared(write_flat(tmp_path / "redux", cats=1, dogs=1))


def test_exact_duplicates_stay_on_one_side(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", cat=20, dog=20)
    for number in range(10):
        content = (source / "cat" / f"{number}.png").read_bytes()
        (source / "cat" / f"again-{number}.png").write_bytes(content)

    made = prepared(source)

    hashes = {
        part: {file.sha256 for file in made.manifest.part(part)}
        for part in ("train", "valid")
    }
    assert not hashes["train"] & hashes["valid"]
    found = kinds(made)
    assert sum(found.values()) == 10
    assert set(found) <= {"exact duplicates in train", "exact duplicates in valid"}


def test_photo_with_two_labels_is_the_first_finding(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", cat=10, dog=10)
    (source / "dog" / "cat.png").write_bytes((source / "cat" / "1.png").read_bytes())

    finding = prepared(source).manifest.findings[0]

    assert finding.kind == "exact duplicates with two labels"
    assert finding.examples == ("cat/1.png = dog/cat.png (cat, dog)",)


def test_photo_saved_again_smaller_is_a_near_duplicate(tmp_path: Path) -> None:
    source = write_classes(tmp_path / "pets", cat=10, dog=10)
    rows, columns = np.mgrid[0:90, 0:120]
    pixels = 128 + 60 * np.sin(rows / 15) + 50 * np.cos(columns / 20)
    image = Image.fromarray(pixels.astype(np.uint8))
    (source / "cat" / "big.png").write_bytes(encoded(image))
    again = encoded(image.resize((60, 45)), "JPEG", quality=60)
    (source / "cat" / "small.jpg").write_bytes(again)

    made = prepared(source)

    assert [x.count for x in made.manifest.findings if "near" in x.kind] == [1]
    assert "cat/big.png ~ cat/small.jpg" in made.manifest.findings[0].examples[0]


def test_alike_digits_do_not_drown_the_report() -> None:
    generator = np.random.default_rng(0)
    strokes = np.zeros((400, 24, 24), np.uint8)
    for stroke, start in zip(strokes, generator.integers(2, 16, 400), strict=True):
        stroke[start : start + 6, 8:16] = generator.integers(100, 255, (6, 8))

    assert len(list(find_similar_pairs(strokes))) == 0


def test_strict_refuses_before_anything_is_written(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    (source / "train" / "cat.3.png").write_bytes(b"no photo")

    with pytest.raises(StrictError, match="1 unreadable photo"):
        prepared(source, strict=True)

    assert not (tmp_path / "out").exists()


def test_command_prints_findings_and_the_next_step(tmp_path: Path) -> None:
    from click.testing import CliRunner

    from kennel.commands.prepare import prepare

    source = write_flat(tmp_path / "redux")
    (source / "train" / "cat.3.png").write_bytes(b"no photo")

    done = CliRunner().invoke(prepare, [str(source), str(tmp_path / "out")])

    assert done.exit_code == 0, done.output
    assert "1  unreadable photo" in done.stdout
    assert "train/cat.3.png: this is a text file" in done.stdout
    assert f"Next: kennel train {tmp_path / 'out'}" in done.stdout


def test_thumbnail_decoding_refuses_what_decoding_refuses() -> None:
    from models.errors import InvalidImageError
    from models.images.codec import decode_grey

    stream = io.BytesIO()
    Image.new("RGB", (400, 300), "red").save(stream, "JPEG")

    assert decode_grey(stream.getvalue(), (24, 24)).shape == (24, 24)
    with pytest.raises(InvalidImageError):
        decode_grey(stream.getvalue()[:-300], (24, 24))


def test_disk_that_gives_errors_damages_no_photo(tmp_path: Path) -> None:
    source = write_flat(tmp_path / "redux")
    errors = ReadErrors(tmp_path)
    command = ["prepare", str(source), str(tmp_path / "prepared")]

    with errors.given("read", errno.EIO):
        done = subprocess.run(
            [sys.executable, "-m", "kennel.cli", *command],
            env={**os.environ, **errors.env},
            capture_output=True,
            text=True,
            check=False,
        )

    assert done.returncode == 1
    assert ".png' cannot be read now (Input/output error): check its" in done.stderr
    assert str(source) in done.stderr
    assert not (tmp_path / "prepared").exists()


def test_photo_that_is_gone_since_it_was_listed_is_named() -> None:
    photo = SourcePhoto(SourceFile("cat/1.png", 9, FileOrigin(Path("/nowhere/1.png"))))

    with (
        Archives(Path()) as archives,
        pytest.raises(DatasetError, match=r"cat/1.png is gone since its folder"),
    ):
        scan_photos(
            [photo], lambda each: read_encoded(each.file.origin, archives), silent
        )


CAFE = "caf\xe9"
CAFE_OF_MACOS = "cafe\u0301"
MULLER = os.fsdecode(b"m\xfcller.png")
BEAR = os.fsdecode(b"b\xe4r")


def write(folder: Path, *labels: str, name: str = "photo{}.png") -> Path:
    for first, label in enumerate(labels):
        (folder / label).mkdir(parents=True)
        for number in range(8):
            path = folder / label / name.format(number)
            path.write_bytes(photo(100 * first + number))
    return folder


def test_labels_are_stored_in_one_unicode_form(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, "th\xe9", name="e\u0301{}.png")

    made = prepared(source)

    assert made.manifest.labels == (CAFE, "th\xe9")
    assert (made.folder / "train" / CAFE).is_dir()
    split = find_split(made.folder, 0.25, seed=1)
    assert split.labels == find_split(source, 0.25, seed=1).labels == (CAFE, "th\xe9")
    assert all((made.folder / each.file).is_file() for each in split.train)


def test_classes_of_one_text_become_one_class(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, CAFE, "bar")

    made = prepared(source)

    assert made.manifest.counts()["train"] == {"bar": 6, CAFE: 12}
    assert "same text" in made.manifest.findings[0].kind


def test_what_was_stored_in_another_form_is_read_in_this_one(tmp_path: Path) -> None:
    made = prepared(write(tmp_path / "places", CAFE, "bar"))
    split = find_split(made.folder, 0.25, seed=1)
    split.write(tmp_path / "split.json")
    for path in (made.folder / "manifest.json", tmp_path / "split.json"):
        path.write_text(path.read_text().replace(json.dumps(CAFE)[1:-1], CAFE_OF_MACOS))

    assert read_manifest(made.folder).labels == ("bar", CAFE)
    read = read_split(tmp_path / "split.json")
    assert read.labels == ("bar", CAFE)
    assert {each.label for each in read.train} == {"bar", CAFE}


def test_one_class_in_two_forms_is_one_class_too_few(tmp_path: Path) -> None:
    source = write(tmp_path / "places", CAFE_OF_MACOS, CAFE)

    for refuse in (list_photos, prepared):
        with pytest.raises(DatasetError, match="at least two"):
            refuse(source)


@pytest.mark.parametrize("place", ["class", "photo", "test photo"])
def test_name_that_is_not_utf8_is_refused_before_any_work(
    tmp_path: Path, place: str
) -> None:
    source = write(tmp_path / "pets", "cat", BEAR if place == "class" else "dog")
    target = {"class": None, "photo": source / "cat", "test photo": source / "test"}[
        place
    ]
    if target is not None:
        target.mkdir(exist_ok=True)
        (target / MULLER).write_bytes(b"no photo")

    with pytest.raises(DatasetError, match=r"not UTF-8: \S*\\udc") as refused:
        prepared(source)
    str(refused.value).encode()
    if place != "test photo":
        with pytest.raises(DatasetError, match=r"not UTF-8: \S*\\udc"):
            list_photos(source)


def test_folder_that_is_not_utf8_is_refused(tmp_path: Path) -> None:
    source = write(tmp_path / BEAR, "cat", "dog")

    for refuse in (prepared, lambda folder: find_split(folder, 0.25, seed=1)):
        with pytest.raises(DatasetError, match="not UTF-8"):
            refuse(source)


def test_run_of_names_that_are_not_utf8_is_refused(tmp_path: Path) -> None:
    split = find_split(write(tmp_path / "pets", "cat", "dog"), 0.25, seed=1)
    split.write(tmp_path / "split.json")
    text = (tmp_path / "split.json").read_text()
    (tmp_path / "split.json").write_text(text.replace("photo0", "m\\udcfcller"))

    with pytest.raises(DatasetError, match=r"not UTF-8: .*cat/m\\udcfcller.png"):
        read_split(tmp_path / "split.json")


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

"""Jobs that a sample or a manifest orders: what is checked, kept, and written."""

from __future__ import annotations

import io
import json
import unicodedata
from typing import Any

import pytest

from models.errors import ConflictError, InvalidRequestError
from tests.pictures import grey
from tests.worker.packing import zipped
from tests.worker.world import World, items_of, request
from worker.artefacts import Row
from worker.queue import JobRequest, JobStatus, Sheets
from worker.runs import find_run
from worker.submission import render_csv

MULTI = {"format": "kaggle-multiclass"}


def submit(world: World, key: str | None = None, **given: Any) -> JobStatus:
    sheets = {name: io.BytesIO(given.pop(name)) for name in SHEETS if name in given}
    decide = given.pop("decide_format", False)
    return world.queue.submit(
        request(**given), key, Sheets(**sheets, decide_format=decide)
    )


SHEETS = ("manifest", "sample_submission")


def items(world: World, job: JobStatus) -> list[tuple[str, ...]]:
    return [tuple(item) for item in items_of(find_run(world.runs_dir, job.id))]


def asked(world: World, job: JobStatus) -> JobRequest:
    return find_run(world.runs_dir, job.id).manifest.request


@pytest.fixture(autouse=True)
def photos(world: World) -> None:
    world.photos_of(3)


def test_sample_orders_a_job_and_is_kept(world: World) -> None:
    sample = b"Id,Is_dog\r\n3,0.5\r\n1,0.5\r\n2,0.5\r\n"

    job = submit(world, sample_submission=sample)

    assert items(world, job) == [("3", "3.png"), ("1", "1.png"), ("2", "2.png")]
    assert asked(world, job).header == ("Id", "Is_dog")
    kept = world.runs_dir / job.id / "sample_submission.csv"
    assert kept.read_bytes() == sample


FORMATS = {
    "binary": (b"id,p\n", "kaggle-binary"),
    "multi-class": (b"img,dog,cat\n", "kaggle-multiclass"),
    "full": (b"id,best,dog,cat\n", "full"),
}


@pytest.mark.parametrize("case", FORMATS)
def test_sample_decides_the_format_nobody_named(world: World, case: str) -> None:
    header, expected = FORMATS[case]
    zeros = b",0" * header.count(b",")
    sample = header + b"".join(b"%d%s\n" % (id_, zeros) for id_ in (1, 2, 3))

    job = submit(world, sample_submission=sample, decide_format=True)

    assert job.format == expected


PLANTS = ("Black-grass", "Charlock", unicodedata.normalize("NFD", "Céleri"))
DIGITS = tuple("0123456789")
VALUES: dict[str, tuple[tuple[str, ...], str, str | None, tuple[str, bool]]] = {
    "one name": (PLANTS, "Charlock Charlock Charlock", None, ("label", False)),
    "names": (PLANTS, "Charlock Céleri Black-grass", None, ("label", False)),
    "names of two": (("cat", "dog"), "dog cat dog", None, ("label", False)),
    "a blank": (PLANTS, "Charlock - -", None, ("label", False)),
    "number": (PLANTS, "2 2 2", None, ("label", True)),
    "numbers": (PLANTS, "0 1 2", None, ("label", True)),
    "floats": (PLANTS, "2.0 2.0 -", None, ("label", True)),
    "zeros": (PLANTS, "0 0 0", None, ("label", True)),
    "zeros for one label": (PLANTS, "0 0 0", "Charlock", ("kaggle-binary", False)),
    "halves": (PLANTS, "0.5 0.5 0", "Céleri", ("kaggle-binary", False)),
    "0 and 1 of two": (("cat", "dog"), "0 1 1", None, ("kaggle-binary", False)),
    "halves of two": (("cat", "dog"), "0.5 0.5 0.5", None, ("kaggle-binary", False)),
    "decimal commas": (("cat", "dog"), '"0,5" "0,5" 0', None, ("kaggle-binary", False)),
    "blanks": (("cat", "dog"), "- - -", None, ("kaggle-binary", False)),
    "labels are digits": (DIGITS, "0 0 0", None, ("label", False)),
    "labels count from 1": (DIGITS[1:], "0 0 0", None, ("label", False)),
    "two digits": (("0", "1"), "0 0 0", None, ("kaggle-binary", False)),
}


@pytest.mark.parametrize("case", VALUES)
def test_values_of_the_sample_decide_what_is_written(world: World, case: str) -> None:
    labels, values, positive, expected = VALUES[case]
    rows = enumerate(values.split(" "), start=1)
    text = "file,species\n" + "".join(
        f"{number}.png,{'' if value == '-' else value}\n" for number, value in rows
    )

    job = submit(
        world,
        sample_submission=text.encode(),
        decide_format=True,
        labels=labels,
        positive=positive,
        clip=None,
    )

    made = asked(world, job)
    assert (made.format, made.label_numbers) == expected
    assert job.label_numbers == (made.labels if made.label_numbers else None)
    assert made.header == ("file", "species")
    assert made.positive in (None, *labels)


NO_VALUES = {
    "other name": (
        "Charlock Cleavers Charlock",
        "line 3 cannot be used: its value 'Cleav",
    ),
    "typing error": ("Charlok Charlok Charlok", "the nearest label is 'Charlock'"),
    "above": ("3 3 3", "no number of one (0 to 2)"),
    "names and numbers": ("Charlock 1 1", "line 3 cannot be used: its value '1' is"),
    "halves": ("0.5 0.5 0.5", "use 'label' for the most probable label"),
}


@pytest.mark.parametrize("case", NO_VALUES)
def test_values_that_say_nothing_are_refused(world: World, case: str) -> None:
    values, words = NO_VALUES[case]
    rows = "".join(f"{id_},{each}\n" for id_, each in enumerate(values.split(), 1))

    with pytest.raises(InvalidRequestError) as refused:
        submit(
            world,
            sample_submission=f"id,species\n{rows}".encode(),
            decide_format=True,
            labels=PLANTS,
            clip=None,
        )

    assert words in str(refused.value)


def test_label_can_be_chosen_against_the_samples_values(world: World) -> None:
    sample = b"id,label\n1,?\n2,?\n3,?\n"

    job = submit(world, sample_submission=sample, format="label")

    assert (job.format, asked(world, job).label_numbers) == ("label", False)


def test_most_probable_label_is_written() -> None:
    rows = [
        Row("1", "1.jpg", (0.2, 0.3, 0.5)),
        Row("2", "2.jpg", (0.4, 0.4, 0.2)),
        Row("3", "3.jpg", code="undecodable_image"),
    ]

    def written(**changes: object) -> str:
        return render_csv(rows, request(format="label", labels=PLANTS, **changes))

    assert written() == "id,label\n1,Céleri\n2,Black-grass\n3,Black-grass\n"
    numbers = written(label_numbers=True, header=("image_id", "label"), clip=0.9)
    assert numbers == "image_id,label\n1,2\n2,0\n3,0\n"


def test_columns_and_positive_are_found_in_any_unicode_form(world: World) -> None:
    sample = b"".join(
        (b"img,Charlock,Black-grass,", "Céleri".encode(), b"\n", b"1,0,0,0\n2,0,0,0\n")
    )
    job = submit(
        world,
        sample_submission=sample + b"3,0,0,0\n",
        decide_format=True,
        labels=PLANTS,
        clip=None,
    )

    assert (job.format, job.state) == ("kaggle-multiclass", "queued")
    assert (
        submit(world, positive="Céleri", labels=PLANTS, clip=None).positive == PLANTS[2]
    )


UNFIT = {
    "binary": ({}, b"id,a,b\n", "it has 3 columns, kaggle-binary fills 2"),
    "other labels": (MULTI, b"img,cat,cow\n", "lacks 'dog', and has no label for 'cow'"),
    "label twice": (MULTI, b"img,cat,dog,dog\n", "one column for each label"),
    "two columns": (MULTI, b"img,cat\n", "it lacks 'dog'"),
    "full": ({"format": "full"}, b"id,cat,dog\n", "after id and label"),
    "control": ({}, b'id,"la\nbel"\n', "control characters"),
}  # fmt: skip


@pytest.mark.parametrize("case", UNFIT)
def test_header_that_cannot_be_filled_is_refused(world: World, case: str) -> None:
    options, header, words = UNFIT[case]

    with pytest.raises(InvalidRequestError) as refused:
        submit(world, sample_submission=header + b"1,0\n", **options)

    assert refused.value.code == "invalid_input"
    assert words in str(refused.value)
    assert world.queue.jobs() == []


ROW = Row("7", "sub/7.jpg", (0.25, 0.75))


def lines(**changes: object) -> list[str]:
    own = {"clip": None, "sample_submission": "0" * 64, **changes}
    return render_csv([ROW], request(**own)).splitlines()


def test_columns_are_those_of_the_sample() -> None:
    multi = lines(header=("img", " dog", "cat"), **MULTI)
    full = lines(header=("id", "best", "dog", "cat"), format="full")

    assert multi == ["img, dog,cat", "7,0.75000000,0.25000000"]
    assert full == ["id,best,dog,cat", "7,dog,0.75000000,0.25000000"]
    assert lines(header=("image id", "p")) == ["image id,p", "7,0.75000000"]


def test_manifest_of_an_older_run_is_read(world: World) -> None:
    values = request().to_json()
    for name in ("manifest", "sample_submission", "header"):
        del values[name]

    assert JobRequest.from_json(json.loads(json.dumps(values))) == request()


def test_request_with_a_header_reads_back() -> None:
    original = request(header=("a", "b"), manifest="0" * 64)

    values = json.loads(json.dumps(original.to_json()))

    assert JobRequest.from_json(values) == original


def test_files_count_for_the_idempotency_key(world: World) -> None:
    first = submit(world, "key", manifest=b"file\n1.png\n")

    assert submit(world, "key", manifest=b"file\n1.png\n").id == first.id
    for other in ({"manifest": b"file\n2.png\n"}, {}):
        with pytest.raises(ConflictError):
            submit(world, "key", **other)


def test_manifest_and_sample_go_together(world: World) -> None:
    job = submit(
        world,
        manifest=b"file,id\n2.png,b\n1.png,a\n",
        sample_submission=b"id,label\na,0\nb,0\n",
    )

    assert items(world, job) == [("a", "1.png"), ("b", "2.png")]
    names = {path.name for path in (world.runs_dir / job.id).glob("*.csv")}
    assert names == {"manifest.csv", "sample_submission.csv"}


def test_archive_takes_the_same_files(world: World) -> None:
    archive = io.BytesIO(zipped({f"t/{name}.png": grey(name) for name in (1, 2, 9)}))
    sheets = Sheets(
        manifest=io.BytesIO(b"img\n9.png\n1.png\n"),
        sample_submission=io.BytesIO(b"img,dog,cat\n1.png,0,0\n9.png,0,0\n"),
        decide_format=True,
    )

    job = world.queue.submit_archive(request(), archive, None, sheets)

    assert items(world, job) == [("1.png", "1.png"), ("9.png", "9.png")]


def test_refused_file_leaves_nothing(world: World) -> None:
    with pytest.raises(InvalidRequestError, match="images are not in it"):
        submit(world, sample_submission=b"id,label\n1,0\n")

    assert list(world.runs_dir.iterdir()) == []


def test_only_folder_below_is_taken_and_said(world: World) -> None:
    world.photos.rename(world.input_root / "unknown")
    world.photos.mkdir()
    (world.input_root / "unknown").rename(world.photos / "unknown")

    job = submit(world, format="kaggle-multiclass")

    assert items(world, job)[0] == ("1", "unknown/1.png")
    assert job.input == "test/unknown"
    assert (
        world.queue.photo(job.id, "1") == (world.photos / "unknown/1.png").read_bytes()
    )
    rows = [Row("1", "unknown/1.png", (0.25, 0.75))]
    csv = render_csv(rows, asked(world, job))
    assert csv.splitlines()[1].startswith("1.png,")


def test_file_that_a_manifest_lists_is_an_image(world: World) -> None:
    (world.photos / "4.data").write_bytes(b"?")
    listed = b"file\n2.png\n4.data\n"

    in_folder = submit(world, manifest=listed)
    files = {path.name: path.read_bytes() for path in world.photos.iterdir()}
    with_list = Sheets(manifest=io.BytesIO(listed))
    sent = world.queue.submit_archive(
        request(), io.BytesIO(zipped(files)), None, with_list
    )

    assert items(world, in_folder) == [("2", "2.png"), ("4", "4.data")]
    assert items(world, sent) == items(world, in_folder)

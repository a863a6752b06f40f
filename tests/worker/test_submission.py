"""What stands in the CSV: header, order, values, and the reason if there is none."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace

import numpy as np
import pytest

from models.errors import ConflictError, InvalidRequestError
from models.files import fingerprint_file
from models.images.sandbox import DecodeLimits, DecodeSandbox
from models.wire.client import ModelServerClient
from tests.models.images.handmade import huge_png
from tests.pictures import grey
from tests.worker.world import PATIENCE, World, oracle, request
from worker.artefacts import Row, load_artefact, render_artefact
from worker.batches import PhotoLoader
from worker.items import Item
from worker.queue import JobRequest
from worker.run import Run
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos
from worker.submission import render_csv

ROWS = (
    Row("9", "9.jpg", (0.75, 0.25)),
    Row("10", "10.jpg", (1e-9, 1.0)),
    Row("x", "x, y.jpg", code="undecodable_image", detail="damaged"),
)


def table(asked: JobRequest) -> list[str]:
    return render_csv(ROWS, asked).split("\n")


def test_kaggle_binary_is_the_positive_label_by_id() -> None:
    assert table(request(clip=None)) == [
        *("id,label", "9,0.25000000", "10,1.00000000", "x,0.50000000", "")
    ]


def test_positive_label_can_be_named() -> None:
    assert table(request(clip=None, positive="cat"))[1:3] == [
        *("9,0.75000000", "10,0.00000000")
    ]


def test_kaggle_multiclass_is_by_file_name() -> None:
    lines = table(request(format="kaggle-multiclass", clip=None))

    assert lines[0] == "img,cat,dog"
    assert lines[1] == "9.jpg,0.75000000,0.25000000"
    assert lines[3] == '"x, y.jpg",0.50000000,0.50000000'


def test_full_has_the_label_and_every_probability() -> None:
    lines = table(request(format="full", clip=0.95))

    assert lines[0] == "id,label,cat,dog"
    assert lines[2] == "10,dog,0.05000000,0.95000000"


def test_clip_bounds_each_value() -> None:
    assert table(request(clip=0.95))[2] == "10,0.95000000"


def test_values_stay_within_1e_7_of_float32() -> None:
    values = np.random.default_rng(1).random(1000).astype(np.float32)
    rows = [Row(str(i), "f", (1 - float(p), float(p))) for i, p in enumerate(values)]

    lines = render_csv(rows, request(clip=None)).splitlines()[1:]

    written = np.array([float(line.split(",")[1]) for line in lines])
    assert np.abs(written - values).max() <= 1e-7


def test_artefact_reads_back_exactly(world: World) -> None:
    path = world.runs_dir.parent / "shard.json"
    path.write_text(render_artefact(ROWS, 1.5))
    items = [Item(row.id, row.file) for row in ROWS]

    assert load_artefact(path, items, 2) == ROWS


@pytest.mark.parametrize(
    "text",
    [
        "",
        "[]",
        '{"rows": []}',
        '{"rows": [["1", "1.png", [0.5]]]}',
        '{"rows": [["1", "1.png", [0.5, 1.5]]]}',
        '{"rows": [["1", "1.png", [NaN, 0.5]]]}',
        '{"rows": [["2", "1.png", [0.5, 0.5]]]}',
    ],
)
def test_damaged_artefact_counts_as_not_there(world: World, text: str) -> None:
    path = world.runs_dir.parent / "shard.json"
    path.write_text(text)

    assert load_artefact(path, [Item("1", "1.png")], 2) is None


def test_probabilities_come_with_their_own_photo(world: World) -> None:
    levels = world.photos_of(70)

    text = oracle(world, request(clip=None))

    written = [float(line.split(",")[1]) for line in text.splitlines()[1:]]
    assert written == pytest.approx([level / 255 for level in levels], abs=1e-6)
    assert max(world.model_server.batches) <= 32


@pytest.mark.parametrize(("invariant", "images"), [(False, 2), (True, 1)])
def test_lone_image_is_sent_twice_unless_batches_change_no_bit(
    world: World, invariant: bool, images: int
) -> None:
    world.photos_of(1)

    oracle(world, request(batch_invariant=invariant))

    assert world.model_server.batches == [images]


def test_bad_files_spoil_only_their_own_rows(world: World) -> None:
    world.photos_of(4)
    (world.photos / "2.png").write_bytes(b"no image")
    (world.photos / "3.png").write_bytes(b"")
    folder = LocalFolder(world.photos, "test")
    items = list_photos(folder).items
    (world.photos / "4.png").unlink()
    with ModelServerClient(world.model_server.target) as client:
        rows = predict_items(
            folder,
            items,
            request(),
            lambda batch, model: PATIENCE.predict(client, batch, model),
        )

    codes = [row.code for row in rows]
    assert codes == ["", "unsupported_image", "empty_image", "unreadable_file"]
    assert rows[0].probabilities[1] == pytest.approx(37 / 255, abs=1e-6)


def test_large_photo_is_predicted_like_a_small_one(world: World) -> None:
    world.photos_of(1)
    (world.photos / "2.png").write_bytes(grey(37, (3000, 2000)))
    folder = LocalFolder(world.photos, "test")
    with ModelServerClient(world.model_server.target) as client:
        rows = predict_items(
            folder,
            list_photos(folder).items,
            request(),
            lambda batch, model: PATIENCE.predict(client, batch, model),
        )

    assert [row.code for row in rows] == ["", ""]
    assert rows[0].probabilities == rows[1].probabilities


def test_photo_that_takes_too_much_is_one_unreadable_image(world: World) -> None:
    world.photos_of(1)
    (world.photos / "2.png").write_bytes(huge_png(8_000, 6_000))
    folder = LocalFolder(world.photos, "test")
    with DecodeSandbox(DecodeLimits(cpu_seconds=0.03)) as sandbox:
        load = PhotoLoader(folder, request(), sandbox).load
        good, bad = map(load, list_photos(folder).items)

    assert (good.code, bad.code) == ("", "too_complex")
    assert bad.pixels is None
    assert "scale it down" in bad.detail


def test_unreadable_file_gets_the_prior_and_is_reported(world: World) -> None:
    world.photos_of(9)
    (world.photos / "5.png").write_bytes(b"no image")
    (world.photos / "readme.md").touch()

    lines = oracle(world, request()).splitlines()

    report = json.loads((world.oracle_dir / "oracle" / "report.json").read_text())
    digest = hashlib.sha256(("\n".join(lines) + "\n").encode()).hexdigest()
    assert lines[5] == "5,0.50000000"
    assert report["unreadable"] == 1
    assert report["unreadable_files"][0]["file"] == "5.png"
    assert report["ignored_files"] == ["readme.md"]
    assert report["label_numbers"] is None
    assert report["csv_sha256"] == digest


def test_labels_are_written_by_a_whole_job(world: World) -> None:
    world.photos_of(3)
    (world.photos / "2.png").write_bytes(b"no image")
    (world.photos / "3.png").write_bytes(grey(250))

    lines = oracle(world, request(format="label")).splitlines()

    report = json.loads((world.oracle_dir / "oracle" / "report.json").read_text())
    assert lines == ["id,label", "1,cat", "2,cat", "3,dog"]
    assert (report["format"], report["positive"]) == ("label", None)
    assert report["predicted"] == {"cat": 1, "dog": 1}


def test_unreadable_files_can_end_the_job_and_be_mended(world: World) -> None:
    world.photos_of(20)
    for name in ("3.png", "15.png"):
        (world.photos / name).write_bytes(b"no image")
    world.start_worker()
    job = world.queue.submit(request(on_unreadable="fail"))

    failed = world.wait_for(job, "failed")

    assert "3.png" in str(failed.error)
    assert "15.png" in str(failed.error)
    assert failed.unreadable == 2
    with pytest.raises(ConflictError):
        world.queue.submission(job.id)
    for name in ("3.png", "15.png"):
        (world.photos / name).write_bytes(grey(100))
    world.queue.retry(job.id)
    world.wait_for(job, "succeeded")
    assert "3,0.392" in world.csv(job)


def test_too_many_unreadable_photos_end_the_job_until_they_are_back(
    world: World,
) -> None:
    world.photos_of(20)
    expected = oracle(world, request())
    gone = [world.photos / f"{number}.png" for number in (1, 2, 19, 20)]
    photos = {photo: photo.read_bytes() for photo in gone}
    job = world.queue.submit(request())
    for photo in gone:
        photo.unlink()
    world.start_reconciler()
    world.start_worker()

    failed = world.wait_for(job, "failed")

    assert "4 of 20 images (20.0%) cannot be read, at most 3 may" in str(failed.error)
    assert "1.png: the file cannot be read (No such file" in str(failed.error)
    assert "retry the job" in str(failed.error)
    assert (failed.unreadable, failed.max_unreadable) == (4, 3)
    kept = fingerprint_file(Run(world.runs_dir / job.id).shard_path(1))
    for photo, content in photos.items():
        photo.write_bytes(content)
    world.queue.retry(job.id)
    world.wait_for(job, "succeeded")
    assert world.csv(job) == expected
    assert fingerprint_file(Run(world.runs_dir / job.id).shard_path(1)) == kept


@pytest.mark.parametrize(
    ("asked", "total", "allowed"),
    [
        *((None, 1, 0), (None, 3, 2), (None, 10, 3), (None, 60, 3), (None, 100, 5)),
        *(("5%", 10, 0), ("5%", 1500, 75), ("0.1%", 12_500, 12), ("29%", 100, 29)),
        *(("0", 10, 0), ("20", 10, 9), ("7", 10, 7), ("100%", 10, 9)),
    ],
)
def test_share_or_count_of_unreadable_photos_decides(
    asked: str | None, total: int, allowed: int
) -> None:
    made = request(max_unreadable=asked)

    made.check()
    assert made.allowed_unreadable(total) == allowed
    assert replace(made, on_unreadable="fail").allowed_unreadable(total) == 0


def test_photos_of_which_none_can_be_read_are_no_result(world: World) -> None:
    world.photos.mkdir(parents=True)
    for number in range(2):
        (world.photos / f"{number}.png").write_bytes(b"no image")
    world.start_worker()
    job = world.queue.submit(request(max_unreadable="100%"))

    failed = world.wait_for(job, "failed")

    assert "none of the 2 images can be read" in str(failed.error)


@pytest.mark.parametrize(
    "changes",
    [
        {"max_unreadable": "5 percent"},
        {"max_unreadable": "100.1%"},
        {"max_unreadable": "0.05"},
        {"max_unreadable": "-1"},
        {"max_unreadable": "٣%"},
        {"format": "xml"},
        {"on_unreadable": "guess"},
        {"positive": "bird"},
        {"clip": 0.4},
        {"clip": float("nan")},
        {"version": 0},
        {"model": "../x"},
        {"labels": ("a", "b", "c")},
    ],
)
def test_request_that_cannot_be_met_is_refused(changes: dict[str, object]) -> None:
    with pytest.raises(InvalidRequestError):
        request(**changes).check()


def test_three_labels_need_a_positive_one() -> None:
    asked = request(labels=("a", "b", "c"), clip=None)

    replace(asked, positive="b").check()
    replace(asked, format="full").check()

"""Odd folders that are no faults: refused at once, or given their rows."""

from __future__ import annotations

import csv
import json
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from models.errors import InvalidImageError
from tests.faults.api import api_of
from tests.pictures import grey
from tests.worker.world import World, oracle, request
from worker.assembly import assemble_run
from worker.run import Run
from worker.sources.local import LocalFolder
from worker.sources.results import LocalResults

NOBODY = 65534


def empty(_folder: Path) -> str:
    return "it holds no image"


def only_sidecars(folder: Path) -> str:
    (folder / "labels.csv").write_text("id,label\n")
    return "it holds no image"


def two_of_one_id(folder: Path) -> str:
    for name in ("7.jpg", "07.png"):
        (folder / name).write_bytes(grey(1))
    return "07.png' and '7.jpg' have the same id"


def newline(folder: Path) -> str:
    (folder / "a\nb.png").write_bytes(grey(1))
    return "'a\\nb.png' is not UTF-8 or holds control characters: rename"


def not_unicode(folder: Path) -> str:
    name = os.fsencode(folder) + b"/\xff.png"
    Path(os.fsdecode(name)).write_bytes(grey(1))
    return "is not UTF-8 or holds control characters: rename"


@pytest.mark.parametrize(
    "make", [empty, only_sidecars, two_of_one_id, newline, not_unicode]
)
def test_folder_that_allows_no_csv_starts_nothing(
    world: World, make: Callable[[Path], str]
) -> None:
    world.photos.mkdir(parents=True)
    reason = make(world.photos)
    with api_of(world) as api:
        response = api.post("/v1/jobs", json={"input": "test"})

    answer = response.get_json()
    assert (response.status_code, answer["code"]) == (422, "invalid_input")
    assert reason in answer["detail"]
    assert str(world.input_root) not in answer["detail"]
    assert not world.runs_dir.exists() or list(world.runs_dir.iterdir()) == []


def test_one_file_gets_the_row_that_it_has_among_others(world: World) -> None:
    world.photos_of(9)
    among_others = oracle(world, request())
    (world.input_root / "one").mkdir()
    (world.photos / "5.png").rename(world.input_root / "one" / "5.png")
    world.oracle_dir = world.oracle_dir.with_name("oracle-of-one")

    alone = oracle(world, request(input="one"))

    assert alone.splitlines() == [
        line for line in among_others.splitlines() if line[:2] in {"id", "5,"}
    ]


def test_any_names_have_their_rows_in_natural_order(world: World) -> None:
    world.photos.mkdir(parents=True)
    names = ["rex 2", "10", "rex 10", "9", "añejo", 'a,"b"', "=1+1", "٣"]
    for level, name in enumerate(names):
        (world.photos / f"{name}.png").write_bytes(grey(level))

    rows = list(csv.reader(oracle(world, request(clip=None)).splitlines()))

    ids = [row[0] for row in rows[1:]]
    assert ids == ["9", "10", "=1+1", 'a,"b"', "añejo", "rex 2", "rex 10", "٣"]
    for id_, probability in rows[1:]:
        level = names.index(id_)
        assert float(probability) == pytest.approx(level / 255, abs=1e-6)


def test_photo_that_is_replaced_counts_as_it_is_when_it_is_read(world: World) -> None:
    world.photos_of(2)
    job = world.queue.submit(request(clip=None))
    (world.photos / "2.png").write_bytes(grey(255))
    world.start_reconciler()
    world.start_worker()

    world.wait_for(job, "succeeded")

    assert world.csv(job).splitlines()[2] == "2,1.00000000"


@contextmanager
def as_nobody() -> Iterator[None]:
    """Without root's right to read anything."""
    if os.geteuid() != 0:
        yield
        return
    os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(0)


def test_file_that_may_not_be_read_is_an_unreadable_photo() -> None:
    # Not below pytest's folder, which nobody else may look into.
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        photo = Path(folder) / "1.png"
        photo.write_bytes(grey(1))
        photo.chmod(0)

        with as_nobody(), pytest.raises(InvalidImageError) as refused:
            LocalFolder(Path(folder), "test").read("1.png")

    assert refused.value.code == "unreadable_file"
    assert folder not in str(refused.value)


def test_place_of_results_that_takes_no_files_leaves_the_run_as_it_was(
    world: World,
) -> None:
    world.photos_of(1)
    run = Run(world.runs_dir / world.queue.submit(request()).id)
    run.shard_path(0).write_text(
        json.dumps({"seconds": 1, "rows": [["1", "1.png", [0.5, 0.5]]]})
    )
    place = world.input_root / "1.png"
    place.touch()

    with pytest.raises(NotADirectoryError):
        assemble_run(run, LocalResults(place))

    assert not run.csv.exists()
    assert not run.is_over
    assert world.leftovers() == []
    assert assemble_run(run, LocalResults(world.input_root / "results")) == []

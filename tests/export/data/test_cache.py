"""Arrays on disk: complete or absent, resumed, shared, within the disk's limits."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from export.data import cache
from export.data.cache import RowBatches, stored_array
from models.errors import DatasetError

SHAPE = (10, 3)


def counting(calls: list[int]) -> Callable[[int], RowBatches]:
    def compute(start: int) -> Iterator[tuple[int, Any]]:
        calls.append(start)
        for first in range(start, 10, 2):
            yield first, np.full((2, 3), first)

    return compute


def test_rows_come_back_in_any_order(tmp_path: Path) -> None:
    array = stored_array(tmp_path / "a.npy", SHAPE, "float16", counting([]))

    assert len(array) == 10
    assert array.rows(np.array([9, 0, 4])).tolist() == [[8] * 3, [0] * 3, [4] * 3]
    assert [first for first, _ in array.batches(4)] == [0, 4, 8]


def test_second_call_computes_nothing(tmp_path: Path) -> None:
    calls: list[int] = []
    for _ in range(2):
        stored_array(tmp_path / "a.npy", SHAPE, "float16", counting(calls))

    assert calls == [0]
    assert [each.name for each in tmp_path.iterdir()] == ["a.npy"]


def test_interrupted_computation_goes_on_from_what_is_safe(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(cache, "_MARK_EVERY_BYTES", 1)
    calls: list[int] = []

    def interrupted(start: int) -> Iterator[tuple[int, Any]]:
        yield from list(counting(calls)(start))[:3]
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        stored_array(tmp_path / "a.npy", SHAPE, "float16", interrupted)
    array = stored_array(tmp_path / "a.npy", SHAPE, "float16", counting(calls))

    assert calls == [0, 6]
    assert array.rows(slice(None))[:, 0].tolist() == [0, 0, 2, 2, 4, 4, 6, 6, 8, 8]


def test_refused_data_leave_nothing_behind(tmp_path: Path) -> None:
    def refuse(_start: int) -> Iterator[tuple[int, Any]]:
        yield 0, np.zeros((2, 3))
        raise DatasetError("a photo is damaged")

    with pytest.raises(DatasetError, match="damaged"):
        stored_array(tmp_path / "a.npy", SHAPE, "float16", refuse)
    assert not list(tmp_path.glob("*.npy"))


def test_two_runs_share_one_computation(tmp_path: Path) -> None:
    calls: list[int] = []
    found: list[list[float]] = []
    begun = threading.Event()

    def slow(start: int) -> Iterator[tuple[int, Any]]:
        begun.set()
        yield from counting(calls)(start)

    def run(compute: Callable[[int], RowBatches]) -> None:
        array = stored_array(tmp_path / "a.npy", SHAPE, "float16", compute)
        found.append(array.rows(slice(None))[:, 0].tolist())

    threads = [threading.Thread(target=run, args=[slow]) for _ in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()

    assert calls == [0]
    assert found[0] == found[1] == found[2]


def test_disk_that_is_too_small_is_reported_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(
        shutil, "disk_usage", lambda _path: shutil._ntuple_diskusage(10**9, 10**9, 0)
    )
    calls: list[int] = []

    with pytest.raises(DatasetError, match=r"needs 60,000 MB.*set CACHE_DIR"):
        stored_array(tmp_path / "a.npy", (10, 10**9 * 3), "float16", counting(calls))
    assert calls == []


def test_damaged_array_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.npy").write_bytes(b"not an array")

    with pytest.raises(DatasetError, match=r"a\.npy is damaged.*delete it"):
        stored_array(tmp_path / "a.npy", SHAPE, "float16", counting([]))

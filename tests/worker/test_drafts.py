"""Runs in the making: left alone while their maker lives, removed once it is dead."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest

from worker.drafts import drafted_run, publish_draft, remove_abandoned
from worker.manifest import ManifestFiles
from worker.runs import all_runs

RUNS = 60
"""Made one after the other while all are cleaned again and again."""


def test_draft_of_a_living_maker_is_left_alone(tmp_path: Path) -> None:
    with drafted_run(tmp_path, "job") as draft:
        remove_abandoned(tmp_path)

        assert draft.is_dir()
        assert all_runs(tmp_path) == []


def test_draft_of_a_dead_maker_is_removed(tmp_path: Path) -> None:
    (tmp_path / ".tmp-job-1" / "photos").mkdir(parents=True)
    (tmp_path / "train").mkdir()

    remove_abandoned(tmp_path)

    assert [each.name for each in tmp_path.iterdir()] == ["train"]


def test_broken_off_draft_leaves_nothing(tmp_path: Path) -> None:
    def break_off() -> None:
        with drafted_run(tmp_path, "job") as draft:
            (draft / "photos").mkdir()
            raise KeyError

    with pytest.raises(KeyError):
        break_off()

    assert list(tmp_path.iterdir()) == []


def test_cleaning_never_takes_a_run_from_its_maker(tmp_path: Path) -> None:
    over = threading.Event()

    def clean() -> None:
        while not over.is_set():
            remove_abandoned(tmp_path)

    cleaning = threading.Thread(target=clean)
    cleaning.start()
    try:
        for number in range(RUNS):
            with drafted_run(tmp_path, f"job-{number}") as draft:
                publish_draft(draft, f"job-{number}", ManifestFiles("{}", (), 8))
    finally:
        over.set()
        cleaning.join()

    assert len(all_runs(tmp_path)) == RUNS
    assert not list(tmp_path.glob(".tmp-*"))

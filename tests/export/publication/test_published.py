"""Published versions: their list, and which of them pruning may remove."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from export.publication.pruning import (
    REMOVED_FILE,
    next_version,
    prune,
    remove_model,
)
from export.publication.published import list_versions
from export.publication.rollouts import abort_rollout, begin_rollout
from export.publication.served import CONFIG_FILE, find_rollout, locked, read_served
from models.contract import CARD_FILE
from models.errors import ConflictError, InvalidRequestError
from models.wire.config import published_versions, read_model_config
from tests.export.publication.versions import serve, write_versions

DEAD_EXPORT = ".tmp-9-0123456789ab"


def states(models_dir: Path) -> dict[int, str]:
    return {each.version: each.state for each in list_versions(models_dir)}


def test_each_version_has_a_state(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3, 4, 5)
    serve(tmp_path, 4, 2, old=2)

    found = list_versions(tmp_path, "pets")

    assert states(tmp_path) == {
        5: "rolled back",
        4: "answers",
        3: "kept",
        2: "loaded",
        1: "kept",
    }
    assert [each.version_labels for each in found if each.version == 2] == [("old",)]
    assert found[0].size_bytes > 0


def test_broken_folders_are_marked(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)
    (tmp_path / "pets" / "1" / "saved_model.pb").unlink()
    (tmp_path / "pets" / "2" / CARD_FILE).unlink()
    (tmp_path / "pets" / "3" / CARD_FILE).write_text("{")

    found = list_versions(tmp_path)

    assert {each.state for each in found} == {"broken"}
    assert [each.problem.split(" in ")[0] for each in found[1:]] == [
        "no readable card.json",
        "no saved_model.pb",
    ]


def test_only_versions_that_nobody_needs_are_pruned(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3, 4, 5, 6)
    serve(tmp_path, 5, 2, old=2)

    plan = prune(tmp_path, "pets", 1, {3: "j1"})

    assert set(plan.removed) == {1, 4}
    assert plan.kept == {
        6: "among the newest 1",
        5: "served",
        3: "needed by job j1",
        2: "served",
    }
    assert published_versions(tmp_path / "pets") == [6, 5, 3, 2]
    assert not list((tmp_path / "pets").glob(".tmp-*"))


def test_dry_run_removes_nothing(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)

    plan = prune(tmp_path, "pets", 1, {}, dry_run=True)

    assert set(plan.removed) == {1}
    assert published_versions(tmp_path / "pets") == [3, 2, 1]


def test_what_killed_exports_left_goes_and_what_may_be_copied_now_stays(
    tmp_path: Path,
) -> None:
    write_versions(tmp_path, 1)
    base = tmp_path / "pets"
    for name in (DEAD_EXPORT, ".tmp-young", ".tmp-old"):
        (base / name).mkdir()
        (base / name / "variables").write_bytes(b"x" * 10)
    (tmp_path / ".tmp-models.config-0123456789ab").write_text("")
    two_days_ago = time.time() - 2 * 24 * 3600
    os.utime(base / ".tmp-old", (two_days_ago, two_days_ago))

    plan = prune(tmp_path, "pets", 1, {})

    assert [each.name for each in base.glob(".tmp-*")] == [".tmp-young"]
    assert plan.leftovers[base / DEAD_EXPORT] == 10


def test_pruning_during_an_export_is_refused(tmp_path: Path) -> None:
    write_versions(tmp_path, 1)

    with locked(tmp_path / "pets"), pytest.raises(ConflictError, match="under way"):
        prune(tmp_path, "pets", 1, {})


def needed() -> None:
    raise ConflictError("a job came in meanwhile")


def test_version_numbers_of_a_removed_model_are_not_used_again(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)

    assert remove_model(tmp_path, "pets", lambda: None) == [3, 2, 1]
    assert next_version(tmp_path, "pets") == 4
    write_versions(tmp_path, 4)
    assert remove_model(tmp_path, "pets", lambda: None) == [4]
    assert next_version(tmp_path, "pets") == 5
    assert next_version(tmp_path, "cows") == 1
    (tmp_path / REMOVED_FILE).write_text('{"removed": 3}')
    with pytest.raises(InvalidRequestError, match=r"removed\.json does not say"):
        next_version(tmp_path, "pets")


def test_model_that_turns_out_to_be_needed_is_put_back_as_it_was(
    tmp_path: Path,
) -> None:
    for name in ("ants", "pets", "zebras"):
        write_versions(tmp_path, 1, 2, name=name)
    serve(tmp_path, 1, stable=1)
    before = read_served(tmp_path)

    with pytest.raises(ConflictError, match="came in meanwhile"):
        remove_model(tmp_path, "pets", needed)

    assert list(read_served(tmp_path).items()) == list(before.items())
    assert (tmp_path / "pets/2" / CARD_FILE).is_file()


def test_model_of_a_rollout_or_an_export_is_not_removed(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2)
    serve(tmp_path, 1)
    begin_rollout(tmp_path, "pets", 2, 10)

    with pytest.raises(ConflictError, match="a rollout of pets version 2 goes on"):
        remove_model(tmp_path, "pets", lambda: None)
    abort_rollout(tmp_path, "pets")
    with locked(tmp_path / "pets"), pytest.raises(ConflictError, match="an export of"):
        remove_model(tmp_path, "pets", lambda: None)
    remove_model(tmp_path, "pets", lambda: None)

    assert find_rollout(tmp_path, "pets") is None
    assert read_model_config(tmp_path / CONFIG_FILE) == []

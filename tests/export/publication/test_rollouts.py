"""Rollouts: begun, promoted or aborted; the files that each step writes."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.publication.published import (
    describe_served,
    label_model,
    list_versions,
    roll_back_model,
)
from export.publication.rollouts import (
    abort_rollout,
    begin_rollout,
    load_canary,
    promote_canary,
    run_rollout,
    set_shares,
)
from export.publication.served import find_rollout, read_served
from models.errors import ConflictError, InvalidRequestError, NotFoundError
from models.rollouts import ROLLOUTS_FILE, Rollout
from models.wire.config import ModelEntry
from tests.export.publication.versions import serve, write_versions


@pytest.fixture
def models_dir(tmp_path: Path) -> Path:
    """Versions 1 to 4 of pets; 3 answers, and 4 waits."""
    write_versions(tmp_path, 1, 2, 3, 4)
    serve(tmp_path, 3, 2)
    return tmp_path


def run(models_dir: Path, percent: float = 5) -> Rollout:
    rollout = begin_rollout(models_dir, "pets", 4, mirror=10)
    load_canary(models_dir, rollout, needed=())
    return run_rollout(models_dir, rollout, percent)


def entry(models_dir: Path) -> ModelEntry:
    return read_served(models_dir)["pets"]


def loaded(models_dir: Path) -> list[int]:
    return entry(models_dir).loaded([4, 3, 2, 1])


def found(models_dir: Path) -> Rollout:
    rollout = find_rollout(models_dir, "pets")
    assert rollout is not None
    return rollout


def test_canary_is_held_back_before_it_is_loaded(models_dir: Path) -> None:
    rollout = begin_rollout(models_dir, "pets", 4, mirror=10)

    assert rollout.pins
    assert rollout.holds(4)
    assert rollout.share == 0
    assert loaded(models_dir) == [3, 2]


def test_running_rollout_has_both_versions_loaded_and_labelled(
    models_dir: Path,
) -> None:
    rollout = run(models_dir)

    assert (rollout.stable, rollout.canary, rollout.share) == (3, 4, 5)
    assert loaded(models_dir) == [4, 3]
    assert dict(entry(models_dir).labels) == {"canary": 4, "stable": 3}
    assert describe_served(models_dir, "pets") == (
        "pets version 3 answers requests that name no version; "
        "canary: 4, 5 % of them; also loaded: 4; labels: canary=4, stable=3"
    )
    states = {each.version: each.state for each in list_versions(models_dir)}
    assert states == {4: "canary", 3: "answers", 2: "kept", 1: "kept"}


def test_version_that_a_job_needs_stays_loaded(models_dir: Path) -> None:
    rollout = begin_rollout(models_dir, "pets", 4, mirror=10)

    load_canary(models_dir, rollout, needed={2, 1})

    assert loaded(models_dir) == [4, 3, 2]


def test_promoted_canary_answers_and_the_version_before_stays_loaded(
    models_dir: Path,
) -> None:
    run(models_dir)

    promoted = promote_canary(models_dir, "pets")

    assert not promoted.pins
    assert not promoted.holds(4)
    assert loaded(models_dir) == [4, 3]
    assert dict(entry(models_dir).labels) == {"stable": 4}


def test_aborted_canary_is_unloaded_and_still_held_back(models_dir: Path) -> None:
    run(models_dir)
    label_model(models_dir, "pets", {"beta": 4})

    abort_rollout(models_dir, "pets")

    assert found(models_dir).pins
    assert found(models_dir).holds(4)
    assert loaded(models_dir) == [3]
    assert dict(entry(models_dir).labels) == {"beta": 3, "stable": 3}


def test_abort_may_be_repeated_and_begun_anew(models_dir: Path) -> None:
    run(models_dir)
    abort_rollout(models_dir, "pets")

    abort_rollout(models_dir, "pets")

    assert run(models_dir, 7).share == 7


def test_version_that_is_promoted_can_be_rolled_back(models_dir: Path) -> None:
    run(models_dir)
    promote_canary(models_dir, "pets")

    roll_back_model(models_dir, "pets", 3)

    assert loaded(models_dir) == [3]
    assert find_rollout(models_dir, "pets") is None


def test_rollback_to_an_older_version_keeps_the_aborted_one_back(
    models_dir: Path,
) -> None:
    run(models_dir)
    abort_rollout(models_dir, "pets")

    roll_back_model(models_dir, "pets", 2)

    assert found(models_dir).holds(4)
    assert not found(models_dir).pins


def test_rollback_to_the_aborted_version_lets_it_answer(models_dir: Path) -> None:
    run(models_dir)
    abort_rollout(models_dir, "pets")

    roll_back_model(models_dir, "pets", 4)

    assert find_rollout(models_dir, "pets") is None


def test_start_that_broke_off_is_taken_up_again(models_dir: Path) -> None:
    first = begin_rollout(models_dir, "pets", 4, mirror=10)

    assert begin_rollout(models_dir, "pets", 4, mirror=20).id == first.id


def test_share_grows_and_the_mirror_stays(models_dir: Path) -> None:
    run(models_dir)

    changed = set_shares(models_dir, "pets", 50, mirror=None)

    assert (changed.percent, changed.mirror) == (50, 10)
    assert found(models_dir) == changed


@pytest.mark.parametrize(
    ("version", "kind", "words"),
    [
        (7, NotFoundError, "no version 7: there are 4, 3, 2, 1"),
        (3, ConflictError, "already answers .* kennel export --hold"),
        (2, ConflictError, "older than 3.* kennel rollback pets 2"),
    ],
)
def test_version_that_cannot_be_tried_is_refused(
    models_dir: Path, version: int, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        begin_rollout(models_dir, "pets", version, mirror=10)
    assert find_rollout(models_dir, "pets") is None


def test_only_one_rollout_of_a_model_goes_on(models_dir: Path) -> None:
    run(models_dir)

    for act in (
        lambda: begin_rollout(models_dir, "pets", 4, mirror=10),
        lambda: roll_back_model(models_dir, "pets", 2),
        lambda: label_model(models_dir, "pets", {"canary": None}),
    ):
        with pytest.raises(ConflictError, match="kennel rollout abort pets"):
            act()
    assert found(models_dir).share == 5


def test_share_is_refused_while_the_canary_is_being_loaded(models_dir: Path) -> None:
    begin_rollout(models_dir, "pets", 4, mirror=10)

    with pytest.raises(ConflictError, match="still being loaded"):
        set_shares(models_dir, "pets", 50, None)
    with pytest.raises(ConflictError, match="still being loaded"):
        promote_canary(models_dir, "pets")


def test_without_a_rollout_there_is_nothing_to_change(models_dir: Path) -> None:
    for act in (promote_canary, abort_rollout):
        with pytest.raises(NotFoundError, match="kennel rollout start pets VERSION"):
            act(models_dir, "pets")


def test_rollout_that_was_ended_meanwhile_does_not_load_its_canary(
    models_dir: Path,
) -> None:
    rollout = begin_rollout(models_dir, "pets", 4, mirror=10)
    abort_rollout(models_dir, "pets")

    with pytest.raises(ConflictError, match="another command ended"):
        load_canary(models_dir, rollout, needed=())
    assert loaded(models_dir) == [3, 2]


def test_broken_file_is_named_and_left_alone(models_dir: Path) -> None:
    (models_dir / ROLLOUTS_FILE).write_text('{"rollouts": [{"model": "pets"}]}')

    with pytest.raises(InvalidRequestError, match=r"rollouts\.json is not a list"):
        begin_rollout(models_dir, "pets", 4, mirror=10)

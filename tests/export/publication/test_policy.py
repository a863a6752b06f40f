"""Who answers after a publication, a rollback, a label."""

from __future__ import annotations

from pathlib import Path

import pytest

from export.publication.policy import announce, relabel, roll_back
from models.errors import ConflictError, NotFoundError
from models.wire.config import ModelEntry

VERSIONS = [4, 3, 2, 1]


def entry(*specific: int, **labels: int) -> ModelEntry:
    path = Path("/models/pets")
    return ModelEntry("pets", path, 2, specific, tuple(sorted(labels.items())))


def test_publishing_leaves_an_entry_alone_that_loads_the_newest() -> None:
    assert announce(entry(stable=4), VERSIONS, 5) == entry(stable=4)


def test_publishing_keeps_labelled_versions_loaded() -> None:
    assert announce(entry(stable=3), VERSIONS, 5) == entry(5, 4, 3, stable=3)


def test_publishing_after_a_rollback_keeps_what_answered_and_not_what_was_bad() -> None:
    assert announce(entry(3, 2), VERSIONS, 5) == entry(5, 3)


def test_second_publication_after_a_rollback_is_back_to_the_newest() -> None:
    assert announce(entry(5, 3), [5, *VERSIONS], 6) == entry()


def test_publishing_respects_a_policy_written_by_hand() -> None:
    everything = ModelEntry("pets", Path("/models/pets"), 10**9)

    assert announce(everything, VERSIONS, 5) == everything


@pytest.mark.parametrize(
    ("before", "version", "after"),
    [
        (entry(), 3, entry(3)),
        (entry(), 2, entry(2)),
        (entry(3), 2, entry(2)),
        (entry(3), 4, entry()),
        (entry(2), 4, entry(4, 2)),
        (entry(), 4, entry()),
    ],
)
def test_rolling_back_and_forth(
    before: ModelEntry, version: int, after: ModelEntry
) -> None:
    assert roll_back(before, VERSIONS, version) == after
    assert after.loaded(VERSIONS)[0] == version


def test_labels_of_newer_versions_move_to_the_one_rolled_back_to() -> None:
    rolled_back = roll_back(entry(4, 3, 1, canary=4, old=1), VERSIONS, 3)

    assert rolled_back == entry(3, 1, canary=3, old=1)


def test_labels_of_newer_versions_go_when_their_new_one_was_not_loaded() -> None:
    assert roll_back(entry(canary=4), VERSIONS, 1) == entry(1)


def test_version_that_is_not_there_is_refused_with_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="no version 7: there are 4, 3, 2, 1"):
        roll_back(entry(), VERSIONS, 7)
    with pytest.raises(NotFoundError, match="no version 7: there are 4, 3, 2, 1"):
        relabel(entry(), VERSIONS, {"canary": 7})


def test_labels_are_set_and_removed() -> None:
    labelled = relabel(entry(old=3), VERSIONS, {"canary": 4, "old": None})

    assert labelled == entry(canary=4)


def test_label_of_a_version_that_is_not_served_is_refused() -> None:
    with pytest.raises(ConflictError, match=r"version 1 is not served \(served: 4, 3"):
        relabel(entry(), VERSIONS, {"stable": 1})


def test_removing_a_label_that_is_not_there_names_those_that_are() -> None:
    with pytest.raises(NotFoundError, match="no label 'x': stable=3"):
        relabel(entry(stable=3), VERSIONS, {"x": None})


def test_version_loaded_for_its_label_alone_goes_with_it() -> None:
    assert relabel(entry(4, 3, 1, old=1), VERSIONS, {"old": None}) == entry()
    assert relabel(entry(4, 3, 1, old=1), VERSIONS, {"old": 4}) == entry(old=4)

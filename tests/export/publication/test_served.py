"""models.config: the served models, versions and labels."""

from __future__ import annotations

import os
import time
from dataclasses import replace
from pathlib import Path

import pytest

from export.publication.published import describe_served, label_model, roll_back_model
from export.publication.served import (
    CONFIG_FILE,
    announce,
    local_entries,
    make_default,
    read_served,
    relabel,
    restore_served,
    roll_back,
)
from models.contract import CARD_FILE, ModelCard
from models.errors import ConflictError, InvalidRequestError, NotFoundError
from models.wire.config import ModelEntry, read_model_config
from tests.export.publication.versions import serve, write_versions


def test_models_that_the_file_does_not_name_are_served_by_default(
    tmp_path: Path,
) -> None:
    write_versions(tmp_path, 1)
    write_versions(tmp_path, 1, 2, 3, name="cows")
    serve(tmp_path, 1)

    entries = read_served(tmp_path)

    assert set(entries) == {"cows", "pets"}
    assert entries["cows"].loaded([3, 2, 1]) == [3, 2]
    assert entries["cows"].base_path == Path("/models/cows")
    assert local_entries(tmp_path)[0].base_path == tmp_path / "cows"


def test_new_model_comes_after_those_in_the_file(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, name="solar")
    serve(tmp_path, name="solar")
    write_versions(tmp_path, 1, name="pets")

    roll_back_model(tmp_path, "pets", 1)
    roll_back_model(tmp_path, "solar", 1)
    label_model(tmp_path, "pets", {"stable": 1})

    assert list(read_served(tmp_path)) == ["solar", "pets"]
    names = [each.name for each in read_model_config(tmp_path / CONFIG_FILE)]
    assert names == ["solar", "pets"]


def test_models_without_a_file_come_in_the_order_of_their_first_export(
    tmp_path: Path,
) -> None:
    for name, created in (("ants", "2026-03"), ("pets", "2026-02"), ("solar", "2026")):
        write_versions(tmp_path, 1, 2, name=name)
        path = tmp_path / name / "1" / CARD_FILE
        card = ModelCard.from_json(path.read_text())
        path.write_text(replace(card, created=created).to_json())
    write_versions(tmp_path, 1, name="bees")
    (tmp_path / "bees" / "1" / CARD_FILE).write_text("damaged")

    assert list(read_served(tmp_path)) == ["solar", "pets", "ants", "bees"]


def test_lost_file_is_written_as_it_is_remembered(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)
    write_versions(tmp_path, 1, name="cows")
    serve(tmp_path, 1, stable=1)
    make_default(tmp_path, "pets")
    before, remembered = read_served(tmp_path), local_entries(tmp_path)
    (tmp_path / CONFIG_FILE).unlink()

    assert restore_served(tmp_path, remembered)
    assert list(read_served(tmp_path).items()) == list(before.items())
    assert not restore_served(tmp_path, [])


def test_what_is_remembered_of_another_folder_or_of_gone_versions_is_not_used(
    tmp_path: Path,
) -> None:
    write_versions(tmp_path / "old", 1, name="zebras")
    serve(tmp_path / "old", 1, name="zebras")
    write_versions(tmp_path / "new", 2, name="zebras")
    write_versions(tmp_path / "new", 1, name="ants")
    elsewhere = local_entries(tmp_path / "old")
    gone = [replace(each, base_path=tmp_path / "new/zebras") for each in elsewhere]

    for remembered in (elsewhere, gone):
        served = read_served(tmp_path / "new", remembered)
        assert list(served) == ["ants", "zebras"]
        assert served["zebras"].loaded([2]) == [2]


def test_default_model_moves_to_the_front(tmp_path: Path) -> None:
    for name in ("ants", "bees", "cows"):
        write_versions(tmp_path, 1, name=name)
    serve(tmp_path, 1, name="cows", stable=1)

    assert make_default(tmp_path, "cows") == ["cows", "ants", "bees"]
    assert list(read_served(tmp_path)) == ["cows", "ants", "bees"]
    assert read_served(tmp_path)["cows"].labels == (("stable", 1),)
    with pytest.raises(NotFoundError, match=r"'dogs' .*there are cows, ants, bees"):
        make_default(tmp_path, "dogs")


def test_model_without_versions_is_left_out(tmp_path: Path) -> None:
    write_versions(tmp_path, 1)
    serve(tmp_path)
    (tmp_path / "pets" / "1").rename(tmp_path / "pets" / ".tmp-1")

    assert read_served(tmp_path) == {}


def test_rollback_is_written_and_told(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)
    serve(tmp_path, canary=3)

    roll_back_model(tmp_path, "pets", 2)

    assert read_served(tmp_path)["pets"].specific_versions == (2,)
    assert describe_served(tmp_path, "pets") == (
        "pets version 2 answers requests that name no version; "
        "newer, but rolled back or held: 3; labels: canary=2"
    )


def test_rollback_to_a_broken_version_is_refused(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2)
    (tmp_path / "pets" / "1" / CARD_FILE).unlink()

    with pytest.raises(ConflictError, match="version 1 cannot be served: no readable"):
        roll_back_model(tmp_path, "pets", 1)


def test_unknown_model_is_refused_with_those_that_are(tmp_path: Path) -> None:
    write_versions(tmp_path, 1)

    with pytest.raises(NotFoundError, match=r"no model 'cows' .*there are pets"):
        roll_back_model(tmp_path, "cows", 1)


def test_broken_file_is_named_and_left_alone(tmp_path: Path) -> None:
    write_versions(tmp_path, 1)
    (tmp_path / CONFIG_FILE).write_text("nonsense")

    with pytest.raises(InvalidRequestError, match=r"models\.config is not"):
        label_model(tmp_path, "pets", {"stable": 1})
    assert (tmp_path / CONFIG_FILE).read_text() == "nonsense"


def test_label_moves_only_once_servers_had_time_to_load(tmp_path: Path) -> None:
    write_versions(tmp_path, 1, 2, 3)
    serve(tmp_path, 3, 1, stable=1)

    with pytest.raises(ConflictError, match=r"try again in \d+ s"):
        label_model(tmp_path, "pets", {"stable": 3})
    label_model(tmp_path, "pets", {"canary": 3})
    hour_ago = time.time() - 3600
    os.utime(tmp_path / CONFIG_FILE, (hour_ago, hour_ago))

    entry = label_model(tmp_path, "pets", {"stable": 3})
    assert dict(entry.labels) == {"canary": 3, "stable": 3}


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

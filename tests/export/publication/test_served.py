"""models.config: the one truth about what is served."""

from __future__ import annotations

import os
import time
from pathlib import Path

import pytest

from export.publication.operations import (
    describe_served,
    label_model,
    roll_back_model,
)
from export.publication.served import CONFIG_FILE, local_entries, read_served
from models.contract import CARD_FILE
from models.errors import ConflictError, InvalidRequestError, NotFoundError
from tests.export.publication.versions import serve, write_versions


def test_models_that_the_file_does_not_name_are_served_by_default(
    tmp_path: Path,
) -> None:
    write_versions(tmp_path, 1)
    write_versions(tmp_path, 1, 2, 3, name="cows")
    serve(tmp_path, 1)

    entries = read_served(tmp_path)

    assert list(entries) == ["cows", "pets"]
    assert entries["cows"].loaded([3, 2, 1]) == [3, 2]
    assert entries["cows"].base_path == Path("/models/cows")
    assert local_entries(tmp_path)[0].base_path == tmp_path / "cows"


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

"""Version policies and labels of models.config, as TensorFlow Serving reads them."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from models.wire.config import ModelEntry, read_model_config, render_entries

BASE = Path("/models/pets")


@pytest.mark.parametrize(
    ("entry", "loaded"),
    [
        (ModelEntry("pets", BASE, 2), [4, 3]),
        (ModelEntry("pets", BASE, 10**9), [4, 3, 2, 1]),
        (ModelEntry("pets", BASE, 2, (3, 1), (("canary", 3), ("old", 1))), [3, 1]),
        (ModelEntry("pets", BASE, 2, (5, 3)), [3]),
    ],
    ids=["latest", "all", "specific", "announced"],
)
def test_entry_is_read_as_written(
    tmp_path: Path, entry: ModelEntry, loaded: list[int]
) -> None:
    file = tmp_path / "models.config"
    file.write_text(render_entries([entry]))

    assert read_model_config(file) == [entry]
    assert entry.loaded([1, 2, 3, 4]) == loaded


def test_file_without_a_policy_serves_the_newest(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(
        "model_config_list { config { name: 'pets' base_path: '/models/pets' "
        "model_platform: 'tensorflow' version_labels { key: 'stable' value: 2 } } }"
    )

    entry = read_model_config(file)[0]

    assert entry.loaded([1, 2]) == [2]
    assert entry.labels == (("stable", 2),)


def test_configuration_within_configurations_is_none(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    kind = "[type.googleapis.com/tensorflow.serving.ModelServerConfig]"
    file.write_text(f"custom_model_config {{ {kind} {{ " * 2000)

    with pytest.raises(InvalidRequestError, match="not a model server configuration"):
        read_model_config(file)


def test_no_model_is_an_empty_list_and_not_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    file.write_text(render_entries([]))

    assert "model_config_list" in file.read_text()
    assert read_model_config(file) == []


PETS = "config { name: 'pets' base_path: '/models/pets' model_platform: 'tensorflow' }"


@pytest.mark.parametrize(
    ("models", "complaint"),
    [
        (PETS + PETS, "'pets' is listed twice"),
        (PETS.replace("/models", "models"), "base_path 'models/pets' .* absolute"),
        (PETS.replace("model_platform: 'tensorflow'", ""), "add model_platform"),
    ],
    ids=["twice", "relative", "platform"],
)
def test_configuration_that_tensorflow_serving_refuses_is_refused(
    tmp_path: Path, models: str, complaint: str
) -> None:
    file = tmp_path / "models.config"
    file.write_text(f"model_config_list {{ {models} }}")

    with pytest.raises(InvalidRequestError, match=complaint):
        read_model_config(file)

"""TensorFlow Serving's files are accepted and refused as TensorFlow Serving does."""

from __future__ import annotations

from pathlib import Path, PurePath

import pytest

from models.environment import usable_processors
from models.errors import (
    InvalidRequestError,
)
from models.wire.config import (
    ModelEntry,
    check_model_name,
    default_entry,
    parse_batching_parameters,
    published_models,
    published_versions,
    read_batching_parameters,
    read_model_config,
    render_entries,
)

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


SPLITTING = "max_batch_size { value: 32 } enable_large_batch_splitting { value: true } "


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("max_batch_size { value: many }", "parse integer: many"),
        ("max_bach_size { value: 8 }", "max_bach_size"),
        ("max_batch_size: 8", "max_batch_size: 8"),
        ("max_batch_size = 8", "1:16"),
        ("thread_pool_name { value: a }", "Expected string"),
        ("max_batch_size { value: 0 }", "at least 1"),
        ("num_batch_threads { value: 0 }", "num_batch_threads 0 must be at least 1"),
        ("max_enqueued_batches { value: 0 }", "max_enqueued_batches 0 must be"),
        ("batch_timeout_micros { value: -1 }", "not be negative"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: 4", "append 8"),
        ("max_batch_size { value: 8 } allowed_batch_sizes: [4, 32]", "end with 8"),
        ("allowed_batch_sizes: 32", "append 1000, or make max_batch_size 32"),
        ("allowed_batch_sizes: 4 allowed_batch_sizes: 2", "must increase"),
        ("max_batch_size { value: 2 } allowed_batch_sizes: [0, 2]", "from 1 on"),
        (SPLITTING + "max_execution_batch_size { value: 64 }", "from 1 to"),
        (SPLITTING + "max_execution_batch_size { value: 0 }", "at least 1"),
        ("enable_large_batch_splitting { value: true }", "state max_batch_size"),
        (
            SPLITTING + "max_execution_batch_size { value: 8 } allowed_batch_sizes: 8",
            "must be max_batch_size, 32, also if calls are split: append 32",
        ),
    ],
)
def test_what_the_server_refuses_is_refused_with_a_reason(
    text: str, complaint: str
) -> None:
    with pytest.raises(InvalidRequestError, match=complaint):
        parse_batching_parameters(text, "batching.config")


def test_batching_file_of_tensorflow_serving_is_understood(tmp_path: Path) -> None:
    file = tmp_path / "batching.config"
    file.write_text(
        "# a comment\nmax_batch_size { value: 16 }\nbatch_timeout_micros { value: 5 }\n"
        "allowed_batch_sizes: 4\nallowed_batch_sizes: 16\npad_variable_length_inputs: "
        'false\nthread_pool_name { value: "batches" }'
    )

    parameters = read_batching_parameters(file)

    assert parameters.max_batch_size == parameters.computed_at_once == 16
    assert parameters.batch_timeout_micros == 5
    assert parameters.allowed_batch_sizes == (4, 16)


def test_split_requests_are_larger_than_what_is_computed_at_once() -> None:
    text = SPLITTING + "max_execution_batch_size { value: 8 }"

    parameters = parse_batching_parameters(text, "batching.config")

    assert parameters.max_batch_size == 32
    assert parameters.computed_at_once == 8


def test_what_a_file_does_not_state_is_as_the_server_takes_it() -> None:
    parameters = parse_batching_parameters("", "batching.config")

    assert parameters.max_batch_size == 1000
    assert parameters.max_enqueued_batches == 10
    assert parameters.num_batch_threads == usable_processors()


def test_missing_batching_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="absent"):
        read_batching_parameters(tmp_path / "absent")


def test_model_configuration_is_read_as_written(tmp_path: Path) -> None:
    file = tmp_path / "models.config"
    entries = [default_entry(name, PurePath("/models")) for name in ("cats", "pets")]
    file.write_text(render_entries(entries))

    entries = read_model_config(file)

    assert [entry.name for entry in entries] == ["cats", "pets"]
    assert entries[1].base_path == Path("/models/pets")
    assert entries[1].versions_kept == 2
    file.write_text("model_config_list { nonsense: 1 }")
    with pytest.raises(InvalidRequestError, match="not a model server configuration"):
        read_model_config(file)


def test_only_numbered_folders_are_versions(tmp_path: Path) -> None:
    for name in ("1", "10", "2", "0", "-3", "x", ".tmp-4"):
        (tmp_path / "pets" / name).mkdir(parents=True)
    (tmp_path / "empty").mkdir()

    assert published_versions(tmp_path / "pets") == [10, 2, 1]
    assert published_models(tmp_path) == ["pets"]


@pytest.mark.parametrize("name", ["", "..", "a/b", ".hidden", "a b", "x" * 65, "a\0"])
def test_name_that_cannot_be_a_folder_is_refused(name: str) -> None:
    with pytest.raises(InvalidRequestError, match="is not possible"):
        check_model_name(name)

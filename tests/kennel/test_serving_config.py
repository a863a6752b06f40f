"""`kennel serving-config`: files that a model server accepts, each value explained."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner, Result
from google.protobuf import text_format

from kennel.cli import main
from kennel.commands.serve import model_server
from kennel.serving_config.files import (
    Device,
    ModelOptions,
    ServingOptions,
    flags_in,
    serving_files,
)
from kennel.serving_config.measured import BatchTimes, make_plan
from models.errors import InvalidRequestError
from models.wire.config import (
    BatchingParameters,
    parse_batching_parameters,
    read_batching_parameters,
)
from models.wire.protos import MonitoringConfigMessage
from tests.fake_model_server import CARD

ROOT = Path(__file__).parents[2]

SPLIT_IN_EIGHTS = (
    "max_batch_size { value: 32 } enable_large_batch_splitting { value: true } "
    "max_execution_batch_size { value: 8 }"
)

EVEN = BatchTimes("even 1", {size: 0.01 * size for size in (1, 2, 4, 8, 16, 32)})
"""A model to which batches do not matter."""

STEADY = BatchTimes("steady 1", {1: 0.01, 2: 0.01, 8: 0.01, 32: 0.01, 64: 0.05})
"""One that takes the same time for all batches up to 32."""


def run(*arguments: str, home: Path) -> Result:
    command = ["serving-config", *arguments]
    return CliRunner().invoke(main, command, env={"KENNEL_HOME": str(home)})


def batching(options: ServingOptions) -> BatchingParameters:
    text = serving_files(options)["batching.config"]
    return parse_batching_parameters(text, "batching.config")


def publish(home: Path, name: str, version: int = 1) -> Path:
    folder = home / "models" / name / str(version)
    folder.mkdir(parents=True)
    return folder


@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_committed_files_are_what_the_command_writes(device: Device) -> None:
    texts = serving_files(ServingOptions(device, cores=8))
    folder = ROOT / "deploy" / "model-server" / device

    assert texts == {each.name: each.read_text() for each in folder.iterdir()}


@pytest.mark.parametrize("cores", [1, 4, 16, 64])
@pytest.mark.parametrize("max_batch", [2, 8, 32, 128])
@pytest.mark.parametrize("device", ["cpu", "gpu"])
def test_every_configuration_passes_the_server_s_checks(
    device: Device, max_batch: int, cores: int
) -> None:
    options = ServingOptions(device, cores, max_batch)
    texts = serving_files(options, per_model=True)
    parameters = batching(options)

    assert parameters.computed_at_once == max_batch
    assert parameters.max_batch_size >= 32
    assert model_server.make_context("flags", flags_in(texts["flags"]))
    monitoring = text_format.Parse(
        texts["monitoring.config"], MonitoringConfigMessage()
    )
    assert monitoring.prometheus_config.enable
    path = "/monitoring/prometheus/metrics"
    assert monitoring.prometheus_config.path == path


def test_every_value_has_its_reason_above_it() -> None:
    texts = serving_files(ServingOptions("gpu", 16, 16), per_model=True)

    for text in texts.values():
        title, *values = text.strip().split("\n\n")
        assert title.startswith("# ")
        assert all(re.match(r"# .*\.\n[^#]", each, re.DOTALL) for each in values)


@pytest.mark.parametrize(
    ("device", "sizes"), [("cpu", (2, 3, 4, 5, 6, 7, 8, 32)), ("gpu", (2, 4, 8, 32))]
)
def test_split_calls_never_leave_a_lone_image(
    device: Device, sizes: tuple[int, ...]
) -> None:
    parameters = batching(ServingOptions(device, 4, 8))

    assert parameters.enable_large_batch_splitting
    assert parameters.allowed_batch_sizes == sizes


def test_queue_and_threads_have_room_for_all_clients() -> None:
    few = ServingOptions(api_processes=1, workers=1)
    many = ServingOptions(api_processes=16, workers=64)

    for options in (few, many):
        room = batching(options).max_enqueued_batches * options.max_batch
        flags = flags_in(serving_files(options)["flags"])
        threads = next(each for each in flags if "grpc_max_threads" in each)
        assert room >= 2 * options.images
        assert int(threads.partition("=")[2]) >= options.calls


def test_broken_version_is_given_up_after_a_minute() -> None:
    flags = flags_in(serving_files(ServingOptions())["flags"])
    values = dict(each.removeprefix("--").split("=") for each in flags)

    retries = int(values["max_num_load_retries"])
    # With none, the server does not start beside a broken version.
    assert retries > 0
    assert retries * int(values["load_retry_interval_micros"]) == 60_000_000


def test_threads_times_parallelism_never_exceeds_the_cores() -> None:
    for cores in (1, 7, 16, 30, 64):
        options = ServingOptions("cpu", cores)

        assert options.batch_threads * max(1, options.threads_per_batch) <= cores


@pytest.mark.parametrize(
    ("device", "max_batch"), [("cpu", 1), ("cpu", 0), ("cpu", 1000), ("gpu", 24)]
)
def test_impossible_batches_are_refused(device: Device, max_batch: int) -> None:
    with pytest.raises(InvalidRequestError, match=str(max_batch)):
        ServingOptions(device, 4, max_batch)


@pytest.mark.parametrize(
    ("times", "budget", "chosen"),
    [
        (EVEN, 1000, 32),
        (EVEN, 200, 2),
        (EVEN, 10, 32),
        (STEADY, 100, 32),
        (STEADY, 15, 32),
    ],
)
def test_batch_is_the_smallest_fast_one_that_the_budget_has_room_for(
    times: BatchTimes, budget: float, chosen: int
) -> None:
    assert times.choose(budget) == chosen


def test_budget_that_no_batch_meets_is_warned_of() -> None:
    options = ServingOptions(latency_budget_ms=10)

    plan = make_plan(options, None, [ModelOptions("steady")], {"steady": STEADY})

    assert plan.options.max_batch == 32
    assert any("20 ms" in each and "budget of 10 ms" in each for each in plan.warnings)


def test_slowest_model_decides_unless_it_has_its_own_parameters() -> None:
    options = ServingOptions(latency_budget_ms=200)
    times = {"even": EVEN, "steady": STEADY}

    shared = make_plan(options, None, [], times)
    own = make_plan(options, None, [ModelOptions("even")], times)

    assert shared.options.max_batch == 2
    assert own.options.max_batch == 32
    assert [each.max_batch for each in own.own] == [2]
    assert any("lone image" in each for each in own.warnings)


def test_batches_that_are_not_warmed_up_are_warned_of() -> None:
    plan = make_plan(ServingOptions("gpu", 8), 64, [], {})

    assert ["warm-up" in each for each in plan.warnings] == [True]


def test_nothing_is_written_without_output(tmp_path: Path) -> None:
    result = run(home=tmp_path)

    assert result.exit_code == 0
    assert "max_enqueued_batches { value: 96 }" in result.stdout
    assert "Not measured" in result.stderr
    assert not list(tmp_path.iterdir())


def test_written_files_pass_the_check(tmp_path: Path) -> None:
    folder = tmp_path / "serving"
    written = run("--max-batch", "8", "--output", str(folder), home=tmp_path)
    checked = run("--check", str(folder), home=tmp_path)

    assert written.exit_code == 0, written.output
    assert checked.exit_code == 0, checked.output
    assert "8 computed at once" in checked.stdout


@pytest.mark.parametrize(
    ("file", "line", "complaint"),
    [
        ("batching.config", "allowed_batch_sizes: 8", "make max_batch_size 8"),
        ("batching.config", "max_batch_size { value: 8 }", "at least 32"),
        (
            "batching.config",
            "max_batch_size { value: 32 } enable_large_batch_splitting { value: true }",
            "begin with 2",
        ),
        (
            "batching.config",
            f"{SPLIT_IN_EIGHTS} allowed_batch_sizes: [2, 4, 8]",
            "allowed_batch_sizes 2, 4, 8 must be max_batch_size, 32",
        ),
        (
            "batching.config",
            f"{SPLIT_IN_EIGHTS} allowed_batch_sizes: [2, 32]",
            "add 8, which is max_execution_batch_size",
        ),
        ("monitoring.config", "prometheus { enable: true }", "prometheus"),
        ("flags", "--grpc_max_thread=8", "grpc_max_thread"),
        ("flags", "--grpc_max_threads=many", "many"),
        ("flags", "--batching_parameters_file=b.config", "--enable_batching=true"),
        ("flags", "--max_num_load_retries=-1", "-1"),
    ],
)
def test_check_names_what_a_server_would_not_take(
    tmp_path: Path, file: str, line: str, complaint: str
) -> None:
    run("--output", str(tmp_path), home=tmp_path)
    (tmp_path / file).write_text(line)

    result = run("--check", str(tmp_path), home=tmp_path)

    assert result.exit_code == 2
    assert complaint in result.output


def test_check_of_an_empty_folder_says_what_writes_the_files(tmp_path: Path) -> None:
    result = run("--check", str(tmp_path), home=tmp_path)

    assert result.exit_code == 2
    assert f"--output {tmp_path}" in result.output


def test_models_get_files_of_their_own_beside_and_in_their_versions(
    tmp_path: Path,
) -> None:
    cats, dogs = publish(tmp_path, "cats"), publish(tmp_path, "dogs", 3)
    output = tmp_path / "serving"

    result = run("--model", "cats:max_batch=4", "--output", str(output), home=tmp_path)

    assert result.exit_code == 0, result.output
    flags = flags_in((output / "flags").read_text())
    assert "--enable_per_model_batching_parameters=true" in flags
    for folder, at_once in ((cats, 4), (cats.parent, 4), (dogs, 32)):
        parameters = read_batching_parameters(folder / "batching_params.pbtxt")
        assert parameters.computed_at_once == at_once


def test_check_names_a_file_of_a_model_that_a_server_would_not_take(
    tmp_path: Path,
) -> None:
    folder, output = publish(tmp_path, "cats"), tmp_path / "serving"
    run("--model", "cats:max_batch=4", "--output", str(output), home=tmp_path)
    assert run("--check", str(output), home=tmp_path).exit_code == 0
    file = folder / "batching_params.pbtxt"
    file.write_text(SPLIT_IN_EIGHTS + " allowed_batch_sizes: 8")

    result = run("--check", str(output), home=tmp_path)

    assert result.exit_code == 2
    assert f"{file}: the last of allowed_batch_sizes 8 must be" in result.output


@pytest.mark.parametrize(
    ("model", "complaint"),
    [
        ("cats", "no such model"),
        ("dogs:max_batch=many", "max_batch=many"),
        ("dogs:batch=4", "batch=4"),
        ("dogs:max_batch=1", "1 images"),
        ("../dogs", "not possible"),
    ],
)
def test_options_of_models_that_cannot_be_are_refused(
    tmp_path: Path, model: str, complaint: str
) -> None:
    publish(tmp_path, "dogs")

    result = run("--model", model, "--output", str(tmp_path / "out"), home=tmp_path)

    assert result.exit_code == 2
    assert complaint in result.output
    assert not (tmp_path / "out").exists()


@pytest.mark.tensorflow
def test_measured_batches_choose_the_size(tmp_path: Path) -> None:
    from tests.tiny_model import publish_tiny_model

    publish_tiny_model(tmp_path / "models", 1)

    result: Any = run("--measured", "--latency-budget", "5000", home=tmp_path)

    assert result.exit_code == 0, result.output
    assert "pets 1, measured on this machine" in result.stdout
    assert "max_batch_size { value: 32 }" in result.stdout
    assert "above the budget" not in result.stderr


@pytest.mark.tensorflow
def test_broken_model_that_is_to_be_measured_is_named(tmp_path: Path) -> None:
    folder = publish(tmp_path, "pets")
    (folder / "card.json").write_text(CARD.to_json())
    (folder / "saved_model.pb").write_bytes(b"no graph")

    result = run("--measured", home=tmp_path)

    assert result.exit_code == 1
    assert f"{folder} cannot be measured" in result.stderr


def test_nothing_to_measure_is_said(tmp_path: Path) -> None:
    result = run("--measured", home=tmp_path)

    assert result.exit_code == 2
    assert "nothing to measure" in result.output

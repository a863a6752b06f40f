"""Batching parameters are read, and refused, as TensorFlow Serving does it."""

from __future__ import annotations

from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from models.processors import usable_processors
from models.wire.batching_parameters import (
    parse_batching_parameters,
    read_batching_parameters,
)

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

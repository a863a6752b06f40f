"""What the model sees of requests, by the parameters of its batching queue."""

from __future__ import annotations

from typing import Any

import pytest

from kennel.serving_config.files import serving_config
from kennel.serving_config.wishes import Device, Wishes
from models.networks.runtime import start_tensorflow
from models.wire.batching_parameters import parse_batching_parameters

pytestmark = pytest.mark.tensorflow


def sizes_seen(text: str, images: int) -> list[int]:
    """For each of *images* in one request, how many were computed beside it."""
    start_tensorflow()
    import tensorflow as tf

    from models.server.batching import batched

    def count(pixels: Any) -> list[Any]:
        size = tf.shape(pixels)[0]
        return [tf.fill([size], size)]

    parameters = parse_batching_parameters(text, "a test")
    specs = [tf.TensorSpec([None], tf.float32)]
    queue = batched(count, specs, parameters, f"seen_{hash(text)}_{images}")
    return [int(size) for size in queue(tf.zeros([images]))[0].numpy()]


@pytest.mark.parametrize("device", ["cpu", "gpu"])
@pytest.mark.parametrize("images", [1, 2, 9, 17, 32])
def test_no_part_of_a_split_request_is_computed_alone(
    device: Device, images: int
) -> None:
    wishes = Wishes(device, 4, max_batch=8, latency_budget_ms=1)
    text = serving_config(wishes).texts()["batching.config"]

    seen = sizes_seen(text, images)

    assert len(seen) == images
    assert 2 <= min(seen) <= max(seen) <= 8


def test_whole_requests_are_computed_as_they_came() -> None:
    text = serving_config(Wishes("cpu")).texts()["batching.config"]

    assert sizes_seen(text, 1) == [1]
    assert sizes_seen(text, 17) == [17] * 17


def test_parts_are_bounded_also_without_allowed_sizes() -> None:
    text = (
        "max_batch_size { value: 32 } enable_large_batch_splitting { value: true } "
        "max_execution_batch_size { value: 4 }"
    )

    assert max(sizes_seen(text, 10)) == 4

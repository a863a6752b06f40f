"""What the model sees of requests, by the parameters of its batching queue."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from kennel.serving_config.files import serving_config
from kennel.serving_config.wishes import Device, Wishes
from models.networks.runtime import start_tensorflow
from models.wire.batching_parameters import parse_batching_parameters
from tests.processes import wait_until

pytestmark = pytest.mark.tensorflow

ONE_BATCH = "num_batch_threads { value: 1 } max_batch_size { value: 4 }"


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


@pytest.fixture
def gate() -> Iterator[threading.Event]:
    """Batches wait for it; it is opened at the end."""
    opened = threading.Event()
    yield opened
    opened.set()


def gated(text: str, gate: threading.Event, begun: list[int]) -> Callable[[], int]:
    """Asks for one image; how many were computed beside it, once *gate* is open.

    *begun*: the sizes of the batches that were begun.
    """
    start_tensorflow()
    import numpy as np
    import tensorflow as tf

    from models.server.batching import batched

    def compute(pixels: Any) -> Any:
        begun.append(len(pixels))
        assert gate.wait(30)
        return np.full(len(pixels), len(pixels), np.int32)

    parameters = parse_batching_parameters(text, "a test")
    queue = batched(
        lambda pixels: [tf.numpy_function(compute, [pixels], tf.int32)],
        [tf.TensorSpec([None], tf.float32)],
        parameters,
        f"gated_{time.monotonic_ns()}",
    )
    return lambda: int(queue(tf.zeros([1]))[0][0])


def test_requests_gather_while_a_batch_is_computed(gate: threading.Event) -> None:
    begun: list[int] = []
    ask = gated(ONE_BATCH, gate, begun)
    with ThreadPoolExecutor(9) as pool:
        first = pool.submit(ask)
        wait_until(lambda: begun, "the first batch")
        others = [pool.submit(ask) for _ in range(8)]
        time.sleep(0.3)
        assert begun == [1]
        gate.set()

        assert first.result() == 1
        assert Counter(each.result() for each in others) == {4: 8}


def test_as_many_batches_are_computed_at_once_as_there_are_threads(
    gate: threading.Event,
) -> None:
    begun: list[int] = []
    ask = gated("num_batch_threads { value: 2 }", gate, begun)
    with ThreadPoolExecutor(3) as pool:
        asked = [pool.submit(ask)]
        wait_until(lambda: len(begun) == 1, "the first batch")
        asked.append(pool.submit(ask))
        wait_until(lambda: len(begun) == 2, "the second batch")
        asked.append(pool.submit(ask))
        time.sleep(0.3)
        assert len(begun) == 2
        gate.set()

        assert [each.result() for each in asked] == [1, 1, 1]


def test_batch_waits_to_be_filled_if_it_has_the_time(gate: threading.Event) -> None:
    gate.set()
    text = "batch_timeout_micros { value: 60000000 } max_batch_size { value: 2 }"
    ask = gated(text, gate, [])
    with ThreadPoolExecutor(2) as pool:
        assert [each.result() for each in [pool.submit(ask), pool.submit(ask)]] == [
            2,
            2,
        ]


def test_full_queue_is_refused_as_tensorflow_serving_refuses_it(
    gate: threading.Event,
) -> None:
    import tensorflow as tf

    begun: list[int] = []
    text = "max_batch_size { value: 1 } max_enqueued_batches { value: 1 }"
    ask = gated(f"num_batch_threads {{ value: 1 }} {text}", gate, begun)
    with ThreadPoolExecutor(9) as pool:
        asked = [pool.submit(ask) for _ in range(9)]
        wait_until(lambda: any(each.done() for each in asked), "a refusal")
        gate.set()
        refusals = [each.exception() for each in asked if each.exception()]

    assert refusals
    assert {type(each) for each in refusals} == {tf.errors.UnavailableError}


def test_idle_queue_costs_nothing(gate: threading.Event) -> None:
    gate.set()
    before = set(wake_ups())
    assert gated(ONE_BATCH, gate, [])() == 1

    began = wake_ups()
    time.sleep(0.5)
    ended = wake_ups()

    new = {each for each in ended.keys() & began.keys() if each not in before}
    # The scheduler that looks for work would have woken 500 times.
    assert max([0, *(ended[each] - began[each] for each in new)]) < 100


def wake_ups() -> dict[str, int]:
    """How often each thread of this process has gone to sleep so far."""
    field = "voluntary_ctxt_switches:"
    found = {}
    for each in Path("/proc/self/task").iterdir():
        lines = (each / "status").read_text().splitlines()
        found[each.name] = int(next(x for x in lines if x.startswith(field)).split()[1])
    return found

"""Batches of the embedded server: gathered, bounded, refused when full, cancelled."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from kennel.serving_config.files import Device, ServingOptions, serving_files
from models.errors import ModelTimeoutError, ModelUnavailableError
from models.networks.runtime import start_tensorflow
from models.wire import protos
from models.wire.client import Cancellation, ModelServerClient
from models.wire.config import BatchingParameters, parse_batching_parameters
from models.wire.messages import ModelRef
from tests.processes import wait_until

pytestmark = pytest.mark.tensorflow

ONE_BATCH = "num_batch_threads { value: 1 } max_batch_size { value: 4 }"


def sizes_seen(text: str, images: int) -> list[int]:
    """For each of *images* in one request, how many were computed beside it."""
    start_tensorflow()
    import tensorflow as tf

    from models.server.servable import batched

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
    wishes = ServingOptions(device, 4, max_batch=8, latency_budget_ms=1)
    text = serving_files(wishes)["batching.config"]

    seen = sizes_seen(text, images)

    assert len(seen) == images
    assert 2 <= min(seen) <= max(seen) <= 8


def test_whole_requests_are_computed_as_they_came() -> None:
    text = serving_files(ServingOptions("cpu"))["batching.config"]

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

    from models.server.servable import batched

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


PETS = ModelRef("pets")


class SlowModel:
    """Behind a real server; each batch waits for `gate`.

    Attributes:
        begun: what each batch that was begun holds: the brightness of its images.
        arrived: requests so far.
        ended: those that have ended.
    """

    def __init__(self) -> None:
        start_tensorflow()
        import tensorflow as tf

        from models.server.servable import FRIENDLY, Signature
        from models.server.service import PredictionService

        self.gate = threading.Event()
        self.begun: list[list[int]] = []
        self.arrived = 0
        self.ended: list[Any] = []

        def compute(images: Any) -> Any:
            self.begun.append(images[:, 0, 0, 0].tolist())
            assert self.gate.wait(30)
            return np.full((len(images), 2), 0.5, np.float32)

        def answer(*, images: Any) -> dict[str, Any]:
            rows = tf.numpy_function(compute, [images], tf.float32)
            return {"probabilities": rows, "logits": rows}

        spec = tf.TensorSpec([None, 8, 8, 3], tf.uint8, name="images")
        function = tf.function(answer, autograph=False).get_concrete_function(
            images=spec
        )
        parameters = BatchingParameters(max_batch_size=4)
        self.signature = signature = Signature(
            "abandoned", function, parameters, FRIENDLY
        )

        def predict(_name: str, inputs: Any, wanted: Any, when_ended: Any) -> Any:
            self.arrived += 1

            def register(cancel: Callable[[], None]) -> bool:
                def end() -> None:
                    cancel()
                    self.ended.append(cancel)

                return bool(when_ended(end))

            return signature.run(inputs, wanted, register)

        servable = SimpleNamespace(name="pets", version=1, predict=predict)
        versions: Any = SimpleNamespace(find=lambda *_: servable)
        self.server = grpc.server(ThreadPoolExecutor(16))
        protos.prediction_service.add_PredictionServiceServicer_to_server(
            PredictionService(versions), self.server
        )
        self.port = self.server.add_insecure_port("127.0.0.1:0")
        self.server.start()


@pytest.fixture
def model() -> Iterator[SlowModel]:
    slow = SlowModel()
    yield slow
    slow.gate.set()
    slow.server.stop(0).wait()


def photos(level: int, count: int = 4) -> list[Any]:
    return [np.full((8, 8, 3), level, np.uint8)] * count


def test_batches_that_were_given_up_are_not_begun(model: SlowModel) -> None:
    cancellation = Cancellation(4)
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        first = pool.submit(client.predict, photos(1), PETS, 20)
        wait_until(lambda: model.begun, "the first batch")
        cancelled = pool.submit(client.predict, photos(2), PETS, 20, cancellation)
        expired = pool.submit(client.predict, photos(3), PETS, 1)
        wait_until(lambda: model.arrived == 3, "all have come")
        behind = pool.submit(client.predict, photos(4), PETS, 20)
        wait_until(lambda: model.arrived == 4, "the one behind them")

        cancellation.cancel()
        with pytest.raises(ModelUnavailableError):
            cancelled.result(20)
        with pytest.raises(ModelTimeoutError):
            expired.result(20)
        wait_until(lambda: len(model.ended) == 2, "the server has noticed")
        model.gate.set()

        assert len(first.result(20).probabilities) == 4
        assert len(behind.result(20).probabilities) == 4
    assert model.begun == [[1] * 4, [4] * 4]


def test_what_one_thread_gives_up_is_no_matter_of_another(model: SlowModel) -> None:
    from models.wire.messages import to_tensor

    cancellation = Cancellation(4)
    warm_up = {"images": to_tensor(np.stack(photos(2)))}
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        given_up = pool.submit(client.predict, photos(1), PETS, 20, cancellation)
        wait_until(lambda: model.begun, "the first batch")
        other = pool.submit(model.signature.run, warm_up, ())
        with pytest.raises(TimeoutError):
            other.result(0.2)

        cancellation.cancel()
        with pytest.raises(ModelUnavailableError):
            given_up.result(20)
        wait_until(lambda: len(model.ended) == 1, "the server has noticed")
        model.gate.set()

        assert set(other.result(20)) == {"logits", "probabilities"}


def test_batch_that_somebody_waits_for_is_computed_for_all(model: SlowModel) -> None:
    cancellation = Cancellation(4)
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        first = pool.submit(client.predict, photos(1), PETS, 20)
        wait_until(lambda: model.begun, "the first batch")
        gone = pool.submit(client.predict, photos(2, 1), PETS, 20, cancellation)
        wait_until(lambda: model.arrived == 2, "one of the second batch")
        stays = pool.submit(client.predict, photos(3, 3), PETS, 20)
        wait_until(lambda: model.arrived == 3, "the rest of it")

        cancellation.cancel()
        with pytest.raises(ModelUnavailableError):
            gone.result(20)
        wait_until(lambda: len(model.ended) == 1, "the server has noticed")
        model.gate.set()

        assert len(first.result(20).probabilities) == 4
        assert len(stays.result(20).probabilities) == 3

"""The embedded model server begins no batch that nobody waits for any more."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import grpc
import numpy as np
import pytest

from models.errors import ModelTimeoutError, ModelUnavailableError
from models.networks.runtime import start_tensorflow
from models.wire import messages
from models.wire.batching_parameters import BatchingParameters
from models.wire.channel import Interruption
from models.wire.client import ModelServerClient
from models.wire.model_ref import ModelRef
from tests.processes import wait_until

pytestmark = pytest.mark.tensorflow

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

        from models.server.service import PredictionService
        from models.server.signature import Signature
        from models.server.strictness import FRIENDLY

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
        messages.prediction_service.add_PredictionServiceServicer_to_server(
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
    interruption = Interruption(4)
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        first = pool.submit(client.predict, photos(1), PETS, 20)
        wait_until(lambda: model.begun, "the first batch")
        cancelled = pool.submit(client.predict, photos(2), PETS, 20, interruption)
        expired = pool.submit(client.predict, photos(3), PETS, 1)
        wait_until(lambda: model.arrived == 3, "all have come")
        behind = pool.submit(client.predict, photos(4), PETS, 20)
        wait_until(lambda: model.arrived == 4, "the one behind them")

        interruption.cancel()
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
    from models.wire.tensors import to_tensor

    interruption = Interruption(4)
    warm_up = {"images": to_tensor(np.stack(photos(2)))}
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        given_up = pool.submit(client.predict, photos(1), PETS, 20, interruption)
        wait_until(lambda: model.begun, "the first batch")
        other = pool.submit(model.signature.run, warm_up, ())
        with pytest.raises(TimeoutError):
            other.result(0.2)

        interruption.cancel()
        with pytest.raises(ModelUnavailableError):
            given_up.result(20)
        wait_until(lambda: len(model.ended) == 1, "the server has noticed")
        model.gate.set()

        assert set(other.result(20)) == {"logits", "probabilities"}


def test_batch_that_somebody_waits_for_is_computed_for_all(model: SlowModel) -> None:
    interruption = Interruption(4)
    with (
        ModelServerClient(f"127.0.0.1:{model.port}") as client,
        ThreadPoolExecutor(8) as pool,
    ):
        first = pool.submit(client.predict, photos(1), PETS, 20)
        wait_until(lambda: model.begun, "the first batch")
        gone = pool.submit(client.predict, photos(2, 1), PETS, 20, interruption)
        wait_until(lambda: model.arrived == 2, "one of the second batch")
        stays = pool.submit(client.predict, photos(3, 3), PETS, 20)
        wait_until(lambda: model.arrived == 3, "the rest of it")

        interruption.cancel()
        with pytest.raises(ModelUnavailableError):
            gone.result(20)
        wait_until(lambda: len(model.ended) == 1, "the server has noticed")
        model.gate.set()

        assert len(first.result(20).probabilities) == 4
        assert len(stays.result(20).probabilities) == 3

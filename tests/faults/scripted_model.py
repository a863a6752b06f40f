"""A model server that can also hang, answer nonsense, or answer on command."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any

import numpy as np

from models.contract import PROBABILITIES_OUTPUT
from models.wire.messages import from_tensor, to_tensor
from tests.fake_model_server import FakeModelServer


class ScriptedModelServer(FakeModelServer):
    """The fake model server with a script.

    Attributes:
        before_answer: called with the pixels of each batch before it is answered.
        distort: makes the probabilities that are answered out of the right ones.
    """

    def __init__(self) -> None:
        super().__init__()
        self.before_answer: Callable[[Any], object] = lambda _batch: None
        self.distort: Callable[[Any], Any] = lambda probabilities: probabilities
        self._free = threading.Event()
        self._free.set()

    def hold(self) -> None:
        """Hang: batches that come now are answered after `release`."""
        self._free.clear()

    def release(self) -> None:
        """Answer again, also what was held."""
        self._free.set()

    def stop(self) -> None:
        self.release()
        super().stop()

    def _answer(self, batch: Any, response: Any) -> None:
        self.before_answer(batch)
        self._free.wait()
        super()._answer(batch, response)
        output = response.outputs[PROBABILITIES_OUTPUT]
        distorted = self.distort(from_tensor(output))
        output.CopyFrom(to_tensor(np.asarray(distorted, dtype=np.float32)))

"""What a model server is configured for: its machine, its clients, its budget."""

from __future__ import annotations

from dataclasses import dataclass, field
from math import ceil
from typing import Final, Literal, TypeAlias

from models.contract import MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from service.settings import ServiceSettings
from worker.yielding import FULL_LOAD

Device: TypeAlias = Literal["cpu", "gpu"]

LARGEST_BATCH: Final = 256
"""At the size of VGG16, 39 MB of pixels: more comes near the limit of a message."""

_OTHER_CALLS: Final = 16
"""Probes, model cards and states, which also take a thread."""


@dataclass(frozen=True)
class Clients:
    """Who calls the model server; the defaults are the compose file's, with room.

    Attributes:
        api_processes: of all API containers together.
        workers: job workers, each with so many calls as it makes at full load.
    """

    api_processes: int = ServiceSettings.web_workers
    workers: int = 16

    @property
    def calls(self) -> int:
        """Calls that can be under way at the same time."""
        api = self.api_processes * ServiceSettings.web_threads
        return api + self.workers * FULL_LOAD.calls + _OTHER_CALLS

    @property
    def images(self) -> int:
        """Images that all clients together can have sent at the same time."""
        api = self.api_processes * ServiceSettings.max_in_flight
        return api + self.workers * FULL_LOAD.calls * MAX_BATCH_SIZE


@dataclass(frozen=True)
class Wishes:
    """What the files are computed from.

    Attributes:
        cores: of the model server's machine or container.
        max_batch: images that the model computes at once.
        latency_budget_ms: for a request inside the model server, when it is busy.
    """

    device: Device = "cpu"
    cores: int = 1
    max_batch: int = MAX_BATCH_SIZE
    latency_budget_ms: float = 1000.0
    clients: Clients = field(default_factory=Clients)

    def __post_init__(self) -> None:
        """Refuse what cannot be.

        Raises:
            InvalidRequestError: which value, and what to use.
        """
        if not 2 <= self.max_batch <= LARGEST_BATCH:
            message = (
                f"a batch of {self.max_batch} images is not possible: use 2 to "
                f"{LARGEST_BATCH} (a lone image is computed by other kernels than a "
                "batch, with other last digits)"
            )
            raise InvalidRequestError(message)
        if self.device == "gpu" and self.max_batch not in powers_of_two(LARGEST_BATCH):
            message = f"a GPU's batch must be a power of two, not {self.max_batch}"
            raise InvalidRequestError(message)

    @property
    def splits(self) -> bool:
        """A call of the largest size is computed in parts."""
        return self.max_batch < MAX_BATCH_SIZE

    @property
    def batch_threads(self) -> int:
        """Batches that are computed at the same time."""
        return min(2, self.cores) if self.device == "gpu" else max(1, self.cores // 8)

    @property
    def threads_per_batch(self) -> int:
        """Cores for one batch; 0: TensorFlow may use all."""
        threads = self.batch_threads
        shared = self.device == "cpu" and threads > 1
        return self.cores // threads if shared else 0

    @property
    def waiting_batches(self) -> int:
        """Room for all that the clients can send: a refusal would only be repeated.

        Twice, because calls are not cut to fill a batch: it may be half full.
        """
        return ceil(2 * self.clients.images / self.max_batch)

    @property
    def batch_timeout_micros(self) -> int:
        """How long an incomplete batch waits for more, in microseconds."""
        if self.device == "cpu":
            return 0
        return min(2000, int(1000 * self.latency_budget_ms / 10))


def powers_of_two(largest: int) -> list[int]:
    """1, 2, 4 ... up to *largest*."""
    return [1 << power for power in range(largest.bit_length())]

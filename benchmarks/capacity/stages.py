"""What a request passes: an API process, the batch queue, the model."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Self


@dataclass(frozen=True)
class Stages:
    """What the stages of a deployment take, when nothing else runs.

    Attributes:
        api_seconds: of a request outside the model server.
        api_servers: requests that the API works on at the same time, one a process:
            Python runs one thread at a time.
        batch_seconds: of a batch, besides its images.
        image_seconds: of each image in a batch.
        max_batch: images in a batch.
        batch_servers: batches at the same time: threads times replicas.
        spread: what batches took, relative to the times above; one of these for each.
        other_cpu_seconds: processor time of a request on the model's own cores (the API
            where it is on the same machine, here also whoever makes the load).
        cores: that they share.
    """

    api_seconds: float
    api_servers: int
    batch_seconds: float
    image_seconds: float
    max_batch: int = 32
    batch_servers: int = 1
    spread: tuple[float, ...] = (1.0,)
    other_cpu_seconds: float = 0.0
    cores: int = 1

    def batch(self, size: int) -> float:
        """Seconds of a batch of *size* images."""
        return self.batch_seconds + size * self.image_seconds

    @property
    def model_capacity(self) -> float:
        """Images/s of the model in full batches, on cores of its own."""
        mean = self.batch(self.max_batch) * sum(self.spread) / len(self.spread)
        return self.batch_servers * self.max_batch / mean

    @property
    def capacity(self) -> float:
        """Requests/s of one image that all stages together can sustain."""
        model = 1 / self.model_capacity + self.other_cpu_seconds / self.cores
        return 1 / max(model, self.api_seconds / self.api_servers)

    def under(self, rate: float) -> Self:
        """The stages at *rate* requests/s: what else runs takes its share of the cores.

        Never less than a hundredth is left, so that overload stays finite.
        """
        left = max(1 - rate * self.other_cpu_seconds / self.cores, 0.01)
        return replace(
            self,
            batch_seconds=self.batch_seconds / left,
            image_seconds=self.image_seconds / left,
        )

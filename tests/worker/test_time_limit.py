"""A shard that hangs is ended by its time limit."""

from __future__ import annotations

import threading
import time

import pytest
from rq.timeouts import JobTimeoutException, UnixSignalDeathPenalty

from models.errors import (
    ModelUnavailableError,
)
from models.images.codec import Pixels
from models.wire.messages import ModelRef, Prediction
from tests.worker.world import (
    SHARD_SIZE,
    World,
    request,
)
from worker.shards import predict_items
from worker.sources.local import LocalFolder
from worker.sources.source import list_photos


def test_time_limit_is_no_image_error_and_ends_the_shard_at_once(world: World) -> None:
    world.photos_of(SHARD_SIZE)
    folder = LocalFolder(world.photos, "test")
    items = list_photos(folder).items
    release = threading.Event()

    def hang(_batch: Pixels, _model: ModelRef) -> Prediction:
        release.wait(20)
        raise ModelUnavailableError("released")

    begun = time.monotonic()
    with (
        pytest.raises(JobTimeoutException),
        UnixSignalDeathPenalty(1, JobTimeoutException),  # type: ignore[no-untyped-call]
    ):
        predict_items(folder, items, request(), hang)
    release.set()

    assert time.monotonic() - begun < 10

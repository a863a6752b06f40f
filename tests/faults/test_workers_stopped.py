"""F13, F14: workers get SIGTERM, once, twice, or with the processes of their jobs."""

from __future__ import annotations

import signal
import threading
import time

from tests.faults.heartbeats import expire_heartbeats
from tests.faults.ordeal import Ordeal, signal_all
from tests.faults.scripted_model import ScriptedModelServer
from tests.kennel.stack.test_supervisor import is_alive
from tests.processes import wait_until
from tests.worker.world import SHARD_SIZE


def test_f13_worker_told_to_stop_finishes_its_shard(ordeal: Ordeal) -> None:
    """Nothing is begun twice: the shard at hand ends before the worker does."""
    ordeal.begin()
    worker = ordeal.workers()[0]
    ordeal.work_horse(worker)
    signal_all([worker], signal.SIGTERM)

    wait_until(lambda: worker not in ordeal.workers(), "the worker's end", 60)
    ordeal.check_success()

    assert [ordeal.attempts(shard) for shard in range(6)] == [1] * 6


def test_f13_worker_told_to_stop_does_not_wait_for_a_model(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """It leaves in the middle of its wait; the shard is worked by the next one."""
    ordeal.submit(photos=SHARD_SIZE)
    model_server.stop()
    ordeal.start()
    wait_until(lambda: ordeal.attempts(0) == 1, "the first attempt")
    worker = ordeal.workers()[0]
    signal_all([worker], signal.SIGTERM)

    wait_until(lambda: worker not in ordeal.workers(), "the worker's end", 30)
    model_server.start()
    ordeal.check_success()


def test_f14_whole_process_group_is_told_to_stop(ordeal: Ordeal) -> None:
    """The job's process dies at once; its shard is begun again."""
    ordeal.begin()
    worker = ordeal.workers()[0]
    signal_all([worker, ordeal.work_horse(worker)], signal.SIGTERM)

    wait_until(lambda: worker not in ordeal.workers(), "the worker's end", 60)
    ordeal.check_success()


def test_f14_worker_is_told_twice_to_stop(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """The second time it takes the job's process down with it."""
    worker, horse = ordeal.begin_held(model_server)
    deadline = time.monotonic() + 60
    while worker in ordeal.workers() and time.monotonic() < deadline:
        signal_all([worker], signal.SIGTERM)
        # RQ takes two within a second for one.
        threading.Event().wait(1.1)
    model_server.release()
    expire_heartbeats(ordeal.world.redis.url, [f"{ordeal.job.id}-s00000"])

    assert not is_alive(horse)
    ordeal.check_success()

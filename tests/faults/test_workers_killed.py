"""F0 to F5: workers and the processes of their jobs die or stall."""

from __future__ import annotations

import signal
import threading
import time
from functools import partial
from typing import Any

from tests.faults.ordeal import Ordeal, children_of, signal_all
from tests.faults.scripted_model import ScriptedModelServer
from tests.kennel.stack.test_supervisor import is_alive
from tests.processes import wait_until
from tests.worker.world import SHARD_SIZE

RECOVERY_SECONDS = 15


def test_f0_nothing_breaks(ordeal: Ordeal) -> None:
    """The quiet run that all others are compared with, by two workers."""
    ordeal.begin(workers=2)

    ordeal.check_success()

    assert [ordeal.attempts(shard) for shard in range(6)] == [1] * 6


def test_f1_job_process_is_killed(ordeal: Ordeal) -> None:
    """The shard is begun once more, and only that one."""
    ordeal.begin()
    done = ordeal.artefacts()
    worker = ordeal.workers()[0]
    signal_all([ordeal.work_horse(worker)], signal.SIGKILL)

    ordeal.check_success()

    assert ordeal.workers() == [worker]
    assert done.items() <= ordeal.artefacts().items()
    assert sum(ordeal.attempts(shard) for shard in range(6)) <= 7


def test_f2_shard_that_always_kills_its_process(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """It ends the job, which names its images; the worker and other shards live on."""
    ordeal.submit(photos=3 * SHARD_SIZE)
    model_server.before_answer = partial(_kill_at_first_shard, ordeal)
    ordeal.start()

    ordeal.check_failure(
        "shard 0 did not finish in 10 attempts",
        "its process died",
        "its 8 images: 1.png, 2.png",
    )

    assert ordeal.attempts(0) == 10
    assert set(ordeal.artefacts()) == {"00001.json", "00002.json"}
    assert len(ordeal.workers()) == 1


def _kill_at_first_shard(ordeal: Ordeal, batch: Any) -> None:
    if batch[0, 0, 0, 0] == ordeal.brightness[0]:
        signal_all(children_of(ordeal.workers()[0]), signal.SIGKILL)


def test_f3_worker_is_killed_and_its_job_process_with_it(ordeal: Ordeal) -> None:
    """No orphan works beside the heir."""
    ordeal.begin(workers=2)
    worker = ordeal.workers()[0]
    orphan = ordeal.work_horse(worker)
    signal_all([worker], signal.SIGKILL)

    wait_until(lambda: not is_alive(orphan), "the end of the job's process")
    ordeal.expire_heartbeats([worker])
    ordeal.check_success()


def test_f4_worker_stalls_until_another_has_its_shard(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """One shard is worked on by two at the same time, and both write it."""
    go_on = threading.Event()
    first = threading.Event()

    def hold_the_first(_batch: object) -> None:
        if not first.is_set():
            first.set()
            go_on.wait(60)

    ordeal.submit(photos=SHARD_SIZE)
    model_server.before_answer = hold_the_first
    ordeal.start(workers=2)
    assert first.wait(60)
    stalled = next(each for each in ordeal.workers() if children_of(each))
    signal_all([stalled], signal.SIGSTOP)
    ordeal.expire_heartbeats([stalled])
    wait_until(lambda: ordeal.attempts(0) == 2, "a second worker", 60)
    go_on.set()
    signal_all([stalled], signal.SIGCONT)
    # What it writes late must lie there before the check compares twice.
    wait_until(
        lambda: not children_of(stalled), "the end of the first worker's job", 60
    )

    ordeal.check_success()


def test_f5_worker_and_job_process_are_killed(
    ordeal: Ordeal, model_server: ScriptedModelServer
) -> None:
    """The shard is begun again within 15 seconds, without RQ's own maintenance."""
    worker, horse = ordeal.begin_held(model_server)
    killed = time.monotonic()
    signal_all([worker, horse], signal.SIGKILL)
    model_server.release()
    wait_until(lambda: ordeal.attempts(0) == 2, "the second attempt", 60)

    assert time.monotonic() - killed < RECOVERY_SECONDS
    ordeal.check_success()

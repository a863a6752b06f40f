"""Workers restarted one after the other during a job: no shard is begun twice."""

from __future__ import annotations

import signal
from functools import partial

from tests.faults.ordeal import Ordeal, signal_all
from tests.processes import wait_until


def test_rolling_restart_of_two_workers_spends_no_attempt(ordeal: Ordeal) -> None:
    ordeal.begin(workers=2, photos=96)
    for worker in ordeal.workers():
        ordeal.work_horse(worker)
        signal_all([worker], signal.SIGTERM)
        wait_until(partial(is_replaced, ordeal, worker), "its successor", 60)

    ordeal.check_success()
    assert [ordeal.attempts(shard) for shard in range(12)] == [1] * 12


def is_replaced(ordeal: Ordeal, worker: int) -> bool:
    workers = ordeal.workers()
    return worker not in workers and len(workers) == 2

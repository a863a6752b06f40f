"""The semaphore that is fair to all threads."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from service.http.threads import FifoSemaphore
from tests.processes import wait_until

LONG_SECONDS = 30.0


def test_slot_goes_to_the_thread_that_waits_longest() -> None:
    semaphore, order = FifoSemaphore(1), []
    assert semaphore.acquire(LONG_SECONDS)

    def work(name: int) -> None:
        assert semaphore.acquire(LONG_SECONDS)
        order.append(name)
        semaphore.release()

    with ThreadPoolExecutor(4) as pool:
        for name in range(4):
            pool.submit(work, name)
            wait_until(partial(is_waiting, semaphore, name + 1), "one more that waits")
        semaphore.release()
        work(4)

    assert order == [0, 1, 2, 3, 4]


def test_no_more_slots_are_held_than_there_are() -> None:
    semaphore = FifoSemaphore(2)

    assert [semaphore.acquire(0.01) for _ in range(3)] == [True, True, False]
    semaphore.release()
    assert semaphore.acquire(0.01)


def test_thread_that_gave_up_gets_no_slot() -> None:
    semaphore = FifoSemaphore(1)
    semaphore.acquire(0.01)
    assert not semaphore.acquire(0.01)

    semaphore.release()

    assert semaphore.acquire(0.01)


def test_no_slot_is_lost_between_giving_up_and_releasing() -> None:
    semaphore, taken = FifoSemaphore(2), threading.Semaphore(2)

    def work(_: int) -> None:
        for attempt in range(200):
            if semaphore.acquire(attempt % 3 / 10_000):
                assert taken.acquire(blocking=False)
                taken.release()
                semaphore.release()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert [semaphore.acquire(0.01) for _ in range(3)] == [True, True, False]


def is_waiting(semaphore: FifoSemaphore, count: int) -> bool:
    return semaphore.waiting == count

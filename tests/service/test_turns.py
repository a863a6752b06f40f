"""Turns are taken in the order of coming, and none is lost."""

from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from service.predictions.turns import Turns
from tests.processes import wait_until

PATIENCE_SECONDS = 30.0


def test_whoever_waits_longest_is_next_and_nobody_passes() -> None:
    turns, order = Turns(1), []
    assert turns.take(PATIENCE_SECONDS)

    def work(name: int) -> None:
        assert turns.take(PATIENCE_SECONDS)
        order.append(name)
        turns.end()

    with ThreadPoolExecutor(4) as pool:
        for name in range(4):
            pool.submit(work, name)
            wait_until(partial(is_waiting, turns, name + 1), "one more that waits")
        turns.end()
        work(4)

    assert order == [0, 1, 2, 3, 4]


def test_as_many_at_a_time_as_there_are_places() -> None:
    turns = Turns(2)

    assert [turns.take(0.01) for _ in range(3)] == [True, True, False]
    turns.end()
    assert turns.take(0.01)


def test_who_gave_up_gets_no_turn() -> None:
    turns = Turns(1)
    turns.take(0.01)
    assert not turns.take(0.01)

    turns.end()

    assert turns.take(0.01)


def test_no_turn_is_lost_between_those_who_give_up_and_those_who_end() -> None:
    turns, taken = Turns(2), threading.Semaphore(2)

    def work(_: int) -> None:
        for attempt in range(200):
            if turns.take(attempt % 3 / 10_000):
                assert taken.acquire(blocking=False)
                taken.release()
                turns.end()

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(work, range(8)))

    assert [turns.take(0.01) for _ in range(3)] == [True, True, False]


def is_waiting(turns: Turns, count: int) -> bool:
    return turns.waiting == count

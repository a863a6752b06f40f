"""F37: random faults, one after the other, while a job runs.

    python -m tests.faults.chaos --seeds 20
    python -m tests.faults.chaos --seed 7

The same seed gives the same faults in the same order; what they hit depends on how far
the job is by then.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.conftest import RedisServer
from tests.faults.injections import WORKERS, Injections
from tests.faults.ordeal import Ordeal
from tests.faults.scripted_model import ScriptedModelServer
from tests.worker.world import World

PHOTOS: Final = 200
FAULT_SECONDS: Final = 20.0
PAUSE_SECONDS: Final = 0.8
BATCH_SECONDS: Final = 1.5
"""How slow the model is: the job outlives the faults."""

BOUND_SECONDS: Final = 150.0
"""I7; the launcher waits up to half a minute before it starts a worker again."""


class Chaos:
    """One seed's faults; `history` says what was done to whom and when."""

    def __init__(self, ordeal: Ordeal, seed: int, fault_seconds: float) -> None:
        self.history: list[str] = []
        self._ordeal = ordeal
        self._seed = seed
        self._fault_seconds = fault_seconds
        self._injections = Injections(ordeal, seed)
        self._begun = 0.0

    def run(self) -> None:
        """Submit a job, break what can be broken, and check the promise.

        Raises:
            AssertionError, TimeoutError: it was not kept; with the history as a note.
        """
        ordeal, model_server = self._ordeal, self._ordeal.world.model_server
        ordeal.submit(PHOTOS)
        model_server.delay_seconds = BATCH_SECONDS
        ordeal.start(WORKERS)
        self._begun = time.monotonic()
        try:
            self._break()
            model_server.delay_seconds = 0
            ordeal.check_success(BOUND_SECONDS)
        except (AssertionError, TimeoutError) as error:
            error.add_note(self.account())
            raise
        self._note("the CSV is right")

    def account(self) -> str:
        """The seed, its faults, the states that a client saw, and how to repeat it."""
        states = [
            f"{seconds:.1f} s {state}"
            for seconds, state in self._ordeal.promise.watch.seen
        ]
        lines = [f"seed {self._seed}", *self.history, f"states: {', '.join(states)}"]
        again = f"again: python -m tests.faults.chaos --seed {self._seed}"
        return "\n  ".join([*lines, again])

    def _break(self) -> None:
        while time.monotonic() - self._begun < self._fault_seconds:
            threading.Event().wait(PAUSE_SECONDS)
            if self._ordeal.promise.watch.has_ended:
                return
            self._note(self._injections.inject())

    def _note(self, what: str) -> None:
        seconds = time.monotonic() - self._begun
        done = len(self._ordeal.artefacts())
        self.history.append(f"{seconds:5.1f} s, {done:2d} shards done: {what}")


@contextmanager
def ordeal_in(folder: Path) -> Iterator[Ordeal]:
    """A small kennel in *folder*, outside pytest."""
    (folder / "redis").mkdir()
    redis = RedisServer(folder / "redis")
    redis.start()
    with ScriptedModelServer() as model_server:
        world = World(folder, redis, model_server)
        ordeal = Ordeal(world)
        try:
            yield ordeal
        finally:
            ordeal.close()
            world.close()
            redis.kill()


def run_seed(seed: int, fault_seconds: float = FAULT_SECONDS) -> str:
    """One seed in a kennel of its own; what happened.

    Raises:
        AssertionError, TimeoutError: the promise was not kept.
    """
    with tempfile.TemporaryDirectory() as folder, ordeal_in(Path(folder)) as ordeal:
        chaos = Chaos(ordeal, seed, fault_seconds)
        chaos.run()
    return chaos.account()


def main() -> None:
    """Run one seed, or the first so many."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--seed", type=int, help="run this one alone")
    parser.add_argument("--seeds", type=int, default=20, help="run 1 to this one")
    options = parser.parse_args()
    every = range(1, options.seeds + 1)
    for seed in every if options.seed is None else [options.seed]:
        sys.stdout.write(run_seed(seed) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()

"""F37: random faults in random order; `make chaos` runs more seeds, and for longer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial

import pytest

from tests.faults.chaos import run_seed

SEEDS = (1, 2, 3)
FAULT_SECONDS = 8
"""About six faults a seed: the three seeds draw each kind."""


@pytest.mark.long
@pytest.mark.timeout(300)
def test_f37_random_faults_of_three_seeds() -> None:
    """Side by side, each in a kennel of its own: they mostly wait."""
    with ThreadPoolExecutor(len(SEEDS)) as side_by_side:
        run = partial(run_seed, fault_seconds=FAULT_SECONDS)
        accounts = list(side_by_side.map(run, SEEDS))

    assert all("the CSV is right" in account for account in accounts)

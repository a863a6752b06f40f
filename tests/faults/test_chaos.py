"""F37: random faults in random order; `make chaos` runs more seeds."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.faults.chaos import run_seed

SEEDS = (1, 2, 3)


@pytest.mark.timeout(300)
def test_f37_random_faults_of_three_seeds() -> None:
    """Side by side, each in a kennel of its own: they mostly wait."""
    with ThreadPoolExecutor(len(SEEDS)) as side_by_side:
        accounts = list(side_by_side.map(run_seed, SEEDS))

    assert all("the CSV is right" in account for account in accounts)

"""When requests come, in seconds from the beginning."""

from __future__ import annotations

import random
from itertools import accumulate, count, takewhile


def steady_arrivals(rate: float, seconds: float) -> list[float]:
    """*rate* requests a second at fixed distances."""
    return [number / rate for number in range(int(rate * seconds))]


def random_arrivals(rate: float, seconds: float, seed: int = 0) -> list[float]:
    """Independent requests, as many people make them (a Poisson process)."""
    generator = random.Random(seed)
    moments = accumulate(generator.expovariate(rate) for _ in count())
    return list(takewhile(lambda moment: moment < seconds, moments))

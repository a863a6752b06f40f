"""How far two histograms are apart: the Jensen-Shannon divergence in bits.

J. Lin, "Divergence measures based on the Shannon entropy", IEEE Transactions on
Information Theory 37(1), 1991, with equal weights: 0 for equal distributions, 1 where
they share nothing, and no trouble with empty bins. Small samples differ by chance; what
to expect of that stands beside each figure.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class Divergence:
    """How far two distributions are apart, in bits, and how far they are by chance.

    Both are None until there are answers of both versions.
    """

    bits: float | None
    by_chance: float | None


def divergence(one: Sequence[int], other: Sequence[int]) -> Divergence:
    """The Jensen-Shannon divergence of two histograms with the same bins."""
    total, others = sum(one), sum(other)
    if not total or not others:
        return Divergence(None, None)
    p = [count / total for count in one]
    q = [count / others for count in other]
    middle = [(a + b) / 2 for a, b in zip(p, q, strict=True)]
    bits = (_relative_entropy(p, middle) + _relative_entropy(q, middle)) / 2
    # Second order: the sum of (p - q)^2 / m over 8 ln 2; equal sources have a mean of
    # (bins - 1)(1/n1 + 1/n2) there.
    bins = sum(each > 0 for each in middle)
    by_chance = (bins - 1) * (1 / total + 1 / others) / (8 * math.log(2))
    return Divergence(round(max(bits, 0.0), 6), round(min(by_chance, 1.0), 6))


def _relative_entropy(p: Sequence[float], m: Sequence[float]) -> float:
    return sum(a * math.log2(a / b) for a, b in zip(p, m, strict=True) if a)

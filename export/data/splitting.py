"""Which items go to validation: seeded, stratified, and never half of a group.

Pure arithmetic on strata (one per item, usually its label) and groups; the callers know
what a photo is.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

import numpy as np

_TRIALS: Final = 20_000
"""Group look-ups spent on a better fit: 26 drivers are tried in 769 orders."""


def share_of(strata: Sequence[str], share: float) -> dict[str, int]:
    """Items to choose in each stratum for a *share* (0..1) of every one."""
    return {name: round(count * share) for name, count in _sizes(strata).items()}


def allot(strata: Sequence[str], count: int) -> dict[str, int]:
    """*count* items over the strata by size (largest remainders), at least one each.

    Fewer than *count* if there are not that many; none for some if count is too small.
    """
    sizes = _sizes(strata)
    total = sum(sizes.values())
    count = min(count, total)
    exact = {name: count * size / total for name, size in sizes.items()}
    floor = 1 if count >= len(sizes) else 0
    chosen = {name: max(floor, int(value)) for name, value in exact.items()}
    by_need = sorted(sizes, key=lambda name: (chosen[name] - exact[name], name))
    while sum(chosen.values()) < count:
        for name in by_need[: count - sum(chosen.values())]:
            chosen[name] += chosen[name] < sizes[name]
    while sum(chosen.values()) > count:
        chosen[max(chosen, key=lambda name: (chosen[name] - exact[name], name))] -= 1
    return chosen


def choose_items(
    strata: Sequence[str], targets: Mapping[str, int], generator: np.random.Generator
) -> list[int]:
    """The numbers of randomly chosen items, as many of each stratum as its target."""
    shuffled = shuffle_strata(strata, generator)
    return [
        index for name in shuffled for index in shuffled[name][: targets.get(name, 0)]
    ]


def shuffle_strata(
    strata: Sequence[str], generator: np.random.Generator
) -> dict[str, list[int]]:
    """The numbers of each stratum's items in random order, by the strata's names."""
    members: dict[str, list[int]] = {name: [] for name in sorted(set(strata))}
    for index, name in enumerate(strata):
        members[name].append(index)
    return {
        name: [indexes[place] for place in generator.permutation(len(indexes))]
        for name, indexes in members.items()
    }


def choose_groups(
    strata: Sequence[str],
    groups: Sequence[str],
    targets: Mapping[str, int],
    generator: np.random.Generator,
) -> list[int]:
    """The numbers of the items of randomly chosen groups, near *targets* in each stratum.

    Groups come in random order; one is taken if that brings the counts nearer to the
    targets (least squares). Few groups are tried in many orders, and the best one counts.
    At least one group is taken, however large.
    """
    names = sorted(set(strata))
    ordered = sorted(set(groups))
    numbers = {name: number for number, name in enumerate(ordered)}
    counts = np.zeros((len(ordered), len(names)))
    columns = {name: number for number, name in enumerate(names)}
    for stratum, group in zip(strata, groups, strict=True):
        counts[numbers[group], columns[stratum]] += 1
    goal = np.array([targets.get(name, 0) for name in names], dtype=float)
    best: set[int] = set()
    best_distance = np.inf
    for _ in range(max(1, _TRIALS // len(ordered))):
        taken, distance = _try_order(counts, goal, generator.permutation(len(ordered)))
        if distance < best_distance:
            best, best_distance = taken, distance
    best = best or {int(np.square(counts - goal).sum(axis=1).argmin())}
    return [index for index, group in enumerate(groups) if numbers[group] in best]


def join_groups(first: Sequence[str], second: Sequence[str]) -> list[str]:
    """One group per item, such that items alike in *first* or in *second* share it.

    An empty name is no group. Joined groups keep the name that sorts first.
    """
    parents: dict[tuple[int, str], tuple[int, str]] = {}

    def root(node: tuple[int, str]) -> tuple[int, str]:
        while parents.setdefault(node, node) != node:
            parents[node] = parents[parents[node]]
            node = parents[node]
        return node

    for left, right in zip(first, second, strict=True):
        if left and right:
            low, high = sorted((root((0, left)), root((1, right))))
            parents[high] = low
    return [
        root((0, left))[1] if left else root((1, right))[1] if right else ""
        for left, right in zip(first, second, strict=True)
    ]


def _try_order(
    counts: np.typing.NDArray[np.float64],
    goal: np.typing.NDArray[np.float64],
    order: np.typing.NDArray[np.int64],
) -> tuple[set[int], float]:
    missing = goal.copy()
    taken: set[int] = set()
    for number in order:
        group = counts[number]
        if group @ group < 2 * (missing @ group):
            missing -= group
            taken.add(int(number))
    return taken, float(missing @ missing)


def _sizes(strata: Sequence[str]) -> dict[str, int]:
    return dict(sorted(Counter(strata).items()))

"""What is asked for, completed by what was measured."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass, replace

from kennel.serving_config.budget import BatchTimes
from kennel.serving_config.models import ModelWish
from kennel.serving_config.wishes import Wishes
from models.contract import BATCH_SIZES, MAX_BATCH_SIZE


@dataclass(frozen=True)
class Plan:
    """The wishes to write down, and what to tell about them.

    Attributes:
        single: models with values of their own.
        warnings: what the values will not achieve.
    """

    wishes: Wishes
    single: tuple[ModelWish, ...]
    warnings: tuple[str, ...]


def make_plan(
    wishes: Wishes,
    max_batch: int | None,
    single: Sequence[ModelWish],
    times: Mapping[str, BatchTimes],
) -> Plan:
    """*wishes* with *max_batch*, or with what *times* leave room for.

    Raises:
        InvalidRequestError: a batch size cannot be.
    """
    budget = wishes.latency_budget_ms
    own_names = {each.name for each in single}
    if max_batch is None:
        # One file for all the others: the slowest decides.
        others = [each for name, each in times.items() if name not in own_names]
        fitting = [each.choose(budget) for each in others]
        max_batch = min(fitting, default=MAX_BATCH_SIZE)
    wishes = replace(wishes, max_batch=max_batch)
    own = tuple(_completed(each, wishes, times) for each in single)
    named = {each.name: each for each in own}
    warnings = [
        warning
        for name, measured in times.items()
        for warning in _of_model(
            named.get(name, ModelWish(name)).applied_to(wishes), measured
        )
    ]
    sizes = {each.applied_to(wishes).max_batch for each in own} | {wishes.max_batch}
    return Plan(wishes, own, (*warnings, *_of_sizes(sizes)))


def _completed(
    wish: ModelWish, wishes: Wishes, times: Mapping[str, BatchTimes]
) -> ModelWish:
    if wish.max_batch is not None or wish.name not in times:
        return wish
    budget = wish.applied_to(wishes).latency_budget_ms
    return replace(wish, max_batch=times[wish.name].choose(budget))


def _of_model(wishes: Wishes, measured: BatchTimes) -> list[str]:
    timed = max(size for size in measured.seconds if size <= wishes.max_batch)
    return measured.warnings(timed, wishes.latency_budget_ms)


def _of_sizes(sizes: Set[int]) -> Iterator[str]:
    if min(sizes) < MAX_BATCH_SIZE:
        yield (
            f"batches below {MAX_BATCH_SIZE}, which a folder job sends at once, split "
            "its calls; then a lone image is computed as two, so that CSVs stay the "
            "same to the last digit, and one client alone waits up to twice as long"
        )
    if max(sizes) > max(BATCH_SIZES):
        yield (
            f"batches above {max(BATCH_SIZES)} are not among a version's warm-up "
            "requests: the first one of each size is slow"
        )

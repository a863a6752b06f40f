"""`--measured`: times the published models on this machine and chooses batch sizes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

from kennel.serving_config.files import (
    Device,
    ModelOptions,
    ServingOptions,
    powers_of_two,
)
from models.contract import BATCH_SIZES, MAX_BATCH_SIZE
from models.errors import InvalidRequestError
from models.wire.config import published_models, published_versions

ENOUGH: Final = 0.95
"""Share of the best images/s that suffices: larger batches only make others wait."""


@dataclass(frozen=True)
class BatchTimes:
    """How long a model's batches take on a machine.

    Attributes:
        name: the model, and its version if there is one.
        seconds: the time of a batch, by its size.
    """

    name: str
    seconds: Mapping[int, float]

    def rate(self, size: int) -> float:
        """Images a second in batches of *size*."""
        return size / self.seconds[size]

    def latency_ms(self, size: int) -> float:
        """Milliseconds of a request at a busy server with batches of *size*, at worst.

        The request waits for the batch before it and for its own: twice the time of a
        batch, as long as the server keeps up.
        """
        return 2000 * self.seconds[size]

    def choose(self, budget_ms: float) -> int:
        """The smallest batch within the budget that reaches `ENOUGH` of the best rate.

        It is below `MAX_BATCH_SIZE`, which splits calls, only if that size is above the
        budget; `MAX_BATCH_SIZE` is also chosen if no size fits the budget.
        """
        within = [
            size
            for size in sorted(self.seconds)
            if size > 1 and self.latency_ms(size) <= budget_ms
        ]
        whole = [size for size in within if size >= MAX_BATCH_SIZE] or within
        best = max(map(self.rate, whole), default=0.0)
        fast = (size for size in whole if self.rate(size) >= ENOUGH * best)
        return next(fast, MAX_BATCH_SIZE)


@dataclass(frozen=True)
class ServingPlan:
    """Complete options, and warnings about them.

    Attributes:
        own: options of the models that have their own.
    """

    options: ServingOptions
    own: tuple[ModelOptions, ...]
    warnings: tuple[str, ...]


def measure_models(
    models_dir: Path, device: Device, say: Callable[[str], None]
) -> dict[str, BatchTimes]:
    """Times of the newest version of each model in *models_dir*, by its name.

    Loads the models in this process, one after the other; *say* is called before each.

    Raises:
        InvalidRequestError: there is no model.
        ModelContractError, OSError: a model cannot be loaded.
    """
    names = published_models(models_dir)
    if not names:
        raise InvalidRequestError(f"no models in {models_dir}: nothing to measure")
    from models.networks.runtime import start_tensorflow

    start_tensorflow()
    from models.server.servable import batch_seconds

    sizes = powers_of_two(MAX_BATCH_SIZE if device == "cpu" else 4 * MAX_BATCH_SIZE)
    times = {}
    for name in names:
        version = published_versions(models_dir / name)[0]
        say(f"measuring {name} {version}, batches of 1 to {sizes[-1]} ...")
        seconds = batch_seconds(models_dir / name / str(version), sizes)
        times[name] = BatchTimes(f"{name} {version}", seconds)
    return times


def make_plan(
    options: ServingOptions,
    max_batch: int | None,
    own: Sequence[ModelOptions],
    times: Mapping[str, BatchTimes],
) -> ServingPlan:
    """*options* with *max_batch*, or with the batch size that *times* suggest.

    Raises:
        InvalidRequestError: a batch size is impossible.
    """
    by_name = {each.name: each for each in own}
    if max_batch is None:
        # All other models share one file, so the slowest decides.
        others = (each for name, each in times.items() if name not in by_name)
        fitting = [each.choose(options.latency_budget_ms) for each in others]
        max_batch = min(fitting, default=MAX_BATCH_SIZE)
    options = replace(options, max_batch=max_batch)
    for name, each in by_name.items():
        if each.max_batch is None and name in times:
            budget = each.applied_to(options).latency_budget_ms
            by_name[name] = replace(each, max_batch=times[name].choose(budget))
    used = {name: each.applied_to(options) for name, each in by_name.items()}
    warnings = [
        *_too_slow({name: used.get(name, options) for name in times}, times),
        *_unusual({each.max_batch for each in (options, *used.values())}),
    ]
    return ServingPlan(options, tuple(by_name.values()), tuple(warnings))


def _too_slow(
    used: Mapping[str, ServingOptions], times: Mapping[str, BatchTimes]
) -> Iterator[str]:
    for name, measured in times.items():
        budget_ms, largest = used[name].latency_budget_ms, used[name].max_batch
        size = max(size for size in measured.seconds if size <= largest)
        latency = measured.latency_ms(size)
        if latency > budget_ms:
            yield (
                f"{measured.name}: a batch of {size} takes {latency / 2:.0f} ms, so a "
                f"request to a busy server up to {latency:.0f} ms, which is above the "
                f"budget of {budget_ms:g} ms. More cores, a GPU, `kennel export "
                "--precision bfloat16` or a smaller network would help"
            )


def _unusual(sizes: set[int]) -> Iterator[str]:
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

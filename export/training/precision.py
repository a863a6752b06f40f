"""Precision: the arithmetic in which frozen features are computed fastest here.

``--precision auto`` times float32, bfloat16 and eight bits (int8) on a few training photos,
and takes the one in which the photos and views of a plan take least time. Eight bits have to
be fitted to photos first, so few photos stay in floating point. Eight bits are also what is
validated and served. The choice is written into the plan, and resuming the run keeps it. The
timings are cached, so that the same training is computed alike again on the same machine.

Where eight bits are not possible nothing is timed: bfloat16 is faster than float32 on every
processor that has it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Final, TypeAlias

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import NDArray

from export.data.augmentation import Augmentation, parse_augmentation
from export.data.cache import cache_key
from export.progress import Progress, silent
from export.recipes.catalogue import EXACT, Recipe, Stage
from export.training.assembly import (
    POLICIES,
    assemble_recipe,
    check_recipe,
    usual_precision,
)
from export.training.examples import FrozenPart, prepare_photos
from export.training.plans import TrainingPlan
from models.contract import INT8
from models.environment import processor_flags, processor_name, usable_processors
from models.errors import DatasetError, InvalidRequestError
from models.files import parse_json, write_atomically
from models.images.codec import Pixels
from models.networks.freezing import cut, trained_layers
from models.networks.integer_graph import in_eight_bits
from models.networks.quantization import (
    CALIBRATION_PHOTOS,
    FIT_PHOTOS,
    PERCENTILES,
    provisional_chain,
)

TIMED_PHOTOS: Final = 8
"""Photos of the timed batch: VGG16 computes no more photos/s in larger ones."""

FEWEST_PHOTOS: Final = 2 * CALIBRATION_PHOTOS
"""Photos from which on eight bits may be fitted and still save time."""

_FIT_RUNS: Final = len(PERCENTILES) + 2
"""Computations of a photo's integers while they are fitted."""

Timing: TypeAlias = Callable[[TrainingPlan, Pixels, str], float]
"""(plan, pixels of some photos, precision) -> features of so many photos a second.

Raises:
    InvalidRequestError: this machine cannot compute in that precision.
"""


@dataclass(frozen=True)
class FeatureWork:
    """Photos whose frozen features a plan computes, each once for every view or pass.

    Attributes:
        learnt: photos to learn from, in the plan's precision.
        judged: validation photos, in float32, or in eight bits if the plan is.
    """

    learnt: int
    judged: int

    @property
    def photos(self) -> int:
        """Photos in all."""
        return self.learnt + self.judged

    def seconds(self, speeds: Mapping[str, float]) -> dict[str, float]:
        """Seconds that it takes in each precision, from photos/s in each.

        *speeds* has float32. Eight bits are fitted first.
        """
        exact = speeds["float32"]
        found = {
            precision: self.learnt / speed + self.judged / exact
            for precision, speed in speeds.items()
        }
        if INT8 in speeds:
            fitting = CALIBRATION_PHOTOS / max(
                speed for precision, speed in speeds.items() if precision != INT8
            )
            fitting += FIT_PHOTOS * (1 / exact + _FIT_RUNS / speeds[INT8])
            found[INT8] = fitting + self.photos / speeds[INT8]
        return found


def choose_precision(
    plan: TrainingPlan, progress: Progress, timing: Timing | None = None
) -> TrainingPlan:
    """*plan* in the precision that is fastest for it here, if it is "auto" so far.

    The run's folder holds the plan (`TrainingPlan.write`), and holds the precision and the
    reason when this returns. *timing*: `time_features` unless given.

    Raises:
        DatasetError: photos cannot be used; as `prepare_photos`.
        InvalidRequestError: the recipe cannot be used; as `check_recipe`.
    """
    if plan.precision != "auto":
        return plan
    check_recipe(plan.recipe, len(plan.split.labels), len(plan.split.train))
    work = count_work(plan.recipe, len(plan.split.train), len(plan.split.valid))
    usual = usual_precision(plan.recipe)
    try:
        _check_possible(plan, work)
        speeds = _cached_speeds(plan, usual, progress, timing or time_features)
    except InvalidRequestError as error:
        # The end of the message is for people who asked for eight bits.
        reason = str(error).partition(" use --")[0].rstrip(":;")
        chosen = replace(plan, precision=usual, precision_reason=reason)
    else:
        seconds = work.seconds(speeds)
        fastest = min(seconds, key=lambda precision: seconds[precision])
        reason = _compare(fastest, speeds, seconds, work)
        chosen = replace(plan, precision=fastest, precision_reason=reason)
    chosen.write_options()
    return chosen


def count_work(recipe: Recipe, train: int, valid: int) -> FeatureWork:
    """The features that *recipe* needs of so many training and validation photos.

    Photos that are augmented anew in each epoch count once for each, as if no stage ended
    early.
    """
    learnt = {each for stage in recipe.stages for each in _passes(recipe, stage)}
    judged = {(recipe.stages[-1].trains, view) for view in recipe.views}
    for stage in recipe.stages:
        views = recipe.views if stage.optimizer == EXACT else ("none",)
        judged |= {(stage.trains, view) for view in views}
    if recipe.folds:
        # Each photo is learnt and judged from the same features.
        return FeatureWork(len(learnt | judged) * train, 0)
    return FeatureWork(len(learnt) * train, len(judged) * valid)


def time_features(plan: TrainingPlan, pixels: Pixels, precision: str) -> float:
    """The photos/s of *plan*'s frozen part in that *precision*, on one batch of *pixels*.

    Weights and ranges are not those that will be used; the speed does not depend on them.

    Raises:
        InvalidRequestError: TensorFlow has no operations for it on this machine.
    """
    keras.backend.clear_session()
    network = assemble_recipe(plan.recipe, len(plan.split.labels), POLICIES[precision])
    trained = trained_layers(network, plan.recipe.stages[0].trains)
    frozen = cut(network.model, trained).frozen
    if precision == INT8:
        frozen = in_eight_bits(frozen, provisional_chain(frozen))
    part = FrozenPart(frozen, "float16", plan.cache, silent)
    try:
        return len(pixels) / _seconds(part, pixels.astype(np.float32))
    except (tf.errors.InvalidArgumentError, tf.errors.NotFoundError) as error:
        message = f"TensorFlow does not compute in {precision} on this machine"
        raise InvalidRequestError(message) from error
    finally:
        keras.backend.clear_session()


def _seconds(part: FrozenPart, pixels: NDArray[np.float32]) -> float:
    # The least of two, after one that builds the graph.
    part.compute(pixels)
    found = []
    for _ in range(2):
        began = time.perf_counter()
        part.compute(pixels)
        found.append(time.perf_counter() - began)
    return min(found)


def _check_possible(plan: TrainingPlan, work: FeatureWork) -> None:
    recipe = plan.recipe
    if recipe.needs == "nothing" or plan.weights == "none":
        raise InvalidRequestError("nothing is pretrained")
    check_recipe(recipe, len(plan.split.labels), precision=INT8)
    if work.photos < FEWEST_PHOTOS:
        message = f"{work.photos} photos are too few to fit eight bits to"
        raise InvalidRequestError(message)
    if tf.config.list_physical_devices("GPU"):
        raise InvalidRequestError("TensorFlow computes eight bits on CPUs only")


def _cached_speeds(
    plan: TrainingPlan, usual: str, progress: Progress, timing: Timing
) -> dict[str, float]:
    path = _speeds_file(plan)
    if not path.exists():
        speeds = _time_all(plan, usual, progress, timing)
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, json.dumps(speeds))
    try:
        return {
            name: float(each) for name, each in parse_json(path.read_text()).items()
        }
    except ValueError as error:
        message = f"the timings {path} are damaged ({error}): delete the file"
        raise DatasetError(message) from error


def _speeds_file(plan: TrainingPlan) -> Path:
    recipe = plan.recipe
    network = [recipe.network, recipe.image_size, asdict(recipe.head)]
    machine = [processor_name(), *sorted(processor_flags()), usable_processors()]
    key = cache_key([network, recipe.stages[0].trains, machine, tf.__version__])
    return plan.cache / "speeds" / f"{key}.json"


def _time_all(
    plan: TrainingPlan, usual: str, progress: Progress, timing: Timing
) -> dict[str, float]:
    photos = prepare_photos("training", plan.split.train, plan, progress)
    pixels = photos.pixels.rows(slice(0, TIMED_PHOTOS))
    speeds = {}
    precisions = [INT8, *sorted({usual, "float32"})]
    for number, precision in enumerate(precisions, start=1):
        speeds[precision] = timing(plan, pixels, precision)
        progress("time precisions", number, len(precisions))
    return speeds


def _compare(
    fastest: str,
    speeds: Mapping[str, float],
    seconds: Mapping[str, float],
    work: FeatureWork,
) -> str:
    others = [each for each in speeds if each != fastest]
    reason = f"{speeds[fastest]:,.1f} photos/s here"
    reason += "".join(f", {each} {speeds[each]:,.1f}" for each in others)
    reason += f"; features of {work.photos:,} photos in about {seconds[fastest]:.0f} s"
    reason += "".join(f", {each} {seconds[each]:.0f} s" for each in others)
    if fastest == INT8:
        reason += (
            "; it is served in eight bits, on CPUs only (--precision bfloat16 or float32 "
            "for a GPU)"
        )
    return reason


def _passes(recipe: Recipe, stage: Stage) -> Iterator[tuple[str, str]]:
    # Of the training photos through the frozen part, which depends on what trains.
    augmentation = parse_augmentation(stage.augmentation)
    if augmentation != Augmentation() and not stage.passes:
        count = recipe.members * stage.epochs
    else:
        yield from ((stage.trains, view) for view in stage.views)
        count = stage.passes
    for number in range(1, count + 1):
        yield stage.trains, f"{augmentation} {number}"

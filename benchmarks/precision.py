"""VGG16 in float32, bfloat16 and eight bits, and in LiteRT's and OpenVINO's eight bits.

    python -m benchmarks.precision [--quick] [--rounds 15]

Prints images/s at batch 1, 8 and 32, their ratios to float32, and accuracy and log loss on
the demo's test photos, clipped as in a CSV. The `pooled` head is trained twice: on features
in float32, for float32 and bfloat16, and on those in eight bits. LiteRT and OpenVINO
quantize the float32 SavedModel after training, on training photos. Each engine has a
process of its own, and in every round they take turns, so that other programs slow all of
them alike.
"""

from __future__ import annotations

import statistics
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

import click
import numpy as np
from numpy.typing import NDArray

from benchmarks.engines.launch import (
    ENGINES_PYTHON,
    OWN_PYTHON,
    Engine,
    EngineError,
    EngineInputs,
    EngineModel,
    running_engine,
)
from benchmarks.harness.stack import settings
from kennel.demo import DEMO_VALID_SHARE, SEED, DemoPhotos, lay_out_photos
from kennel.terminal import progress_bars
from models.contract import IMAGES_INPUT, INT8, SERVING_SIGNATURE
from models.environment import processor_flags, processor_name, usable_processors
from models.networks.runtime import start_tensorflow
from models.probabilities import accuracy, clip, log_loss

if TYPE_CHECKING:
    from export.training.runs import TrainedRun

BATCHES: Final = (1, 8, 32)
BASELINE: Final = "float32"
ROUNDS: Final = 15
QUICK_ROUNDS: Final = 5
CALIBRATION_PHOTOS: Final = 128
"""Training photos that show LiteRT and OpenVINO the ranges of activations."""

INSTRUCTIONS: Final = frozenset({"avx512_vnni", "avx512_bf16", "amx_bf16", "amx_int8"})
"""Those that bfloat16 and eight bits are fast with."""

Speed: TypeAlias = Callable[[int], float]
"""Batch size -> images/s of one turn."""


@dataclass(frozen=True)
class Workload:
    """Models by name, and the photos that all of them get.

    Attributes:
        models: each with the bound that its probabilities are clipped to.
        classes: of the test photos.
    """

    models: Mapping[str, tuple[EngineModel, float | None]]
    inputs: EngineInputs
    classes: NDArray[np.int64]


@dataclass(frozen=True)
class Figures:
    """The figures of a model; ``speeds``: images/s of each round, by batch size."""

    speeds: Mapping[int, Sequence[float]]
    accuracy: float
    log_loss: float


@click.command()
@click.option("--quick", is_flag=True, help="400 photos: about 5 minutes.")
@click.option("--rounds", type=int, help="Default: 15, with --quick 5.")
def main(quick: bool, rounds: int | None) -> None:
    """Measure VGG16 in each precision, beside LiteRT and OpenVINO."""
    start_tensorflow()
    with tempfile.TemporaryDirectory(prefix="kennel-bench-") as folder:
        workload = prepare(Path(folder), quick=quick)
        found = measure(workload, rounds or (QUICK_ROUNDS if quick else ROUNDS))
    flags = " ".join(sorted(processor_flags() & INSTRUCTIONS))
    click.echo(
        f"{processor_name()} ({flags}), {workload.inputs.threads} threads; VGG16, recipe pooled, "
        f"{len(workload.classes)} test photos"
    )
    for line in table(found):
        click.echo(line)


def prepare(folder: Path, *, quick: bool) -> Workload:
    """Train and convert all models, and write the photos that they get, to *folder*."""
    photos = lay_out_photos(folder / "data", quick=quick)
    runs = {each: train(photos, folder, each) for each in (BASELINE, INT8)}
    run = runs[BASELINE]
    inputs = write_inputs(photos, run, folder)
    models = {
        name: export(runs.get(name, run), name, folder / name)
        for name in (BASELINE, "bfloat16", INT8)
    }
    for each in peer_models(folder / BASELINE, inputs):
        models[f"{each.engine} int8"] = each, run.calibration.clip_bound
    classes = [run.split.labels.index(label) for label in photos.answers]
    return Workload(models, inputs, np.array(classes))


def write_inputs(photos: DemoPhotos, run: TrainedRun, folder: Path) -> EngineInputs:
    """Decode all test photos, and some that *run* learnt from, to calibrate on."""
    from export.training.classifier import decode_files

    tests = [photos.test / f"{n}.png" for n in range(1, len(photos.answers) + 1)]
    learnt = [Path(run.split.folder) / each.file for each in run.split.train]
    order = np.random.default_rng(SEED).permutation(len(learnt))
    chosen = [learnt[each] for each in order[:CALIBRATION_PHOTOS]]
    found = EngineInputs(folder / "test.npy", folder / "known.npy", usable_processors())
    np.save(found.photos, decode_files(run, tests))
    np.save(found.calibration, decode_files(run, chosen))
    return found


def train(photos: DemoPhotos, folder: Path, precision: str) -> TrainedRun:
    """The demo's run with frozen convolutions in that *precision*."""
    from export.data.splits import find_split
    from export.recipes.catalogue import POOLED
    from export.training.plans import TrainingPlan
    from export.training.train import train

    plan = TrainingPlan(
        name=precision,
        split=find_split(photos.train, DEMO_VALID_SHARE, SEED),
        recipe=POOLED,
        folder=folder / "runs" / precision,
        cache=settings().cache_dir,
        seed=SEED,
        precision=precision,
    )
    plan.write()
    with progress_bars() as progress:
        return train(plan, progress)


def export(
    run: TrainedRun, precision: str, folder: Path
) -> tuple[EngineModel, float | None]:
    """*run* as a SavedModel, as `kennel export --precision` writes it, and its bound."""
    from export.publication.savedmodel import write_savedmodel
    from export.training.classifier import build_ensemble, in_precision
    from export.training.runs import make_card

    exported = in_precision(run, precision)
    card = make_card(exported, 1)
    write_savedmodel(build_ensemble(exported), card, folder)
    return EngineModel("TensorFlow", OWN_PYTHON, folder), card.clip_bound


def peer_models(savedmodel: Path, inputs: EngineInputs) -> Iterator[EngineModel]:
    """What the other engines load: LiteRT's own format, the SavedModel for OpenVINO."""
    if not ENGINES_PYTHON.exists():
        click.echo("LiteRT and OpenVINO are left out: `make bench` installs them")
        return
    import tensorflow as tf

    converter = tf.lite.TFLiteConverter.from_saved_model(
        str(savedmodel), signature_keys=[SERVING_SIGNATURE]
    )
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: (
        (SERVING_SIGNATURE, {IMAGES_INPUT: photo[None]})
        for photo in np.load(inputs.calibration)
    )
    converted = savedmodel.with_suffix(".tflite")
    converted.write_bytes(converter.convert())
    yield EngineModel("LiteRT", ENGINES_PYTHON, converted)
    yield EngineModel("OpenVINO", ENGINES_PYTHON, savedmodel)


def measure(workload: Workload, rounds: int) -> dict[str, Figures]:
    """The figures of all models whose engines run on this machine."""
    with ExitStack() as stack:
        engines = start_engines(workload, stack)
        speeds = take_turns(
            {name: each.images_per_second for name, each in engines.items()}, rounds
        )
        answers = {name: each.probabilities() for name, each in engines.items()}
    found = {}
    for name, probabilities in answers.items():
        clipped = clip(probabilities, workload.models[name][1])
        right = accuracy(probabilities, workload.classes)
        loss = log_loss(clipped, workload.classes)
        found[name] = Figures(speeds[name], right, loss)
    return found


def start_engines(workload: Workload, stack: ExitStack) -> dict[str, Engine]:
    """Running engines by model, which end with *stack*; some are left out, with a line."""
    engines = {}
    for name, (model, _) in workload.models.items():
        try:
            engine = stack.enter_context(running_engine(model, workload.inputs))
        except EngineError as error:
            if model.python == OWN_PYTHON:
                raise
            click.echo(f"{name} is left out: {error}")
        else:
            engines[name] = engine
    return engines


def take_turns(
    engines: Mapping[str, Speed], rounds: int, batches: Sequence[int] = BATCHES
) -> dict[str, dict[int, list[float]]]:
    """images/s of each engine at each batch size, one figure a round.

    The round before the first one warms up and does not count.
    """
    speeds = {name: {size: list[float]() for size in batches} for name in engines}
    for number in range(rounds + 1):
        for size in batches:
            for name, speed in engines.items():
                found = speed(size)
                if number:
                    speeds[name][size].append(found)
    return speeds


def table(measured: Mapping[str, Figures]) -> Iterator[str]:
    """Lines with images/s and ratios to float32 by batch size, accuracy and log loss.

    Both are medians over the rounds; the figures that make a ratio are of one round.
    """
    baseline = measured[BASELINE].speeds
    heads = "".join(f"{f'batch {size}':>15}" for size in baseline)
    yield f"{'images/s (ratio)':16}{heads}  accuracy  log loss"
    for name, figures in measured.items():
        cells = "".join(
            f"{statistics.median(speeds):7.1f} {f'({ratio:.2f})':>7}"
            for size, speeds in figures.speeds.items()
            for ratio in [median_ratio(speeds, baseline[size])]
        )
        yield f"{name:16}{cells}  {figures.accuracy:8.4f}  {figures.log_loss:8.4f}"


def median_ratio(speeds: Sequence[float], baseline: Sequence[float]) -> float:
    """The median over rounds of the ratio of both speeds."""
    return statistics.median(a / b for a, b in zip(speeds, baseline, strict=True))


if __name__ == "__main__":
    main()

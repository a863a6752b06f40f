"""`kennel serving-config`: compute, explain, write and check a model server's files."""

from __future__ import annotations

import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kennel.settings import KennelSettings
from models.environment import usable_processors

if TYPE_CHECKING:
    from kennel.serving_config.files import Device, ServingOptions
    from kennel.serving_config.measured import BatchTimes


@click.command(
    "serving-config",
    epilog="Examples: kennel serving-config --device gpu --max-batch 64; "
    "kennel serving-config --measured --latency-budget 500 --output var/serving; "
    "kennel serving-config --model pets:max_batch=8 --output var/serving; "
    "kennel serving-config --check var/serving",
)
@click.option(
    "--device",
    type=click.Choice(["cpu", "gpu"]),
    default="cpu",
    show_default=True,
    help="What the model server computes on.",
)
@click.option(
    "--cores",
    type=click.IntRange(1, 1024),
    default=usable_processors,
    show_default="this machine's",
    help="Cores of the model server.",
)
@click.option(
    "--max-batch",
    type=int,
    help="Images computed at once; default: 32, or what the budget has room for.",
)
@click.option(
    "--latency-budget",
    type=click.FloatRange(1, 60_000),
    default=1000.0,
    show_default=True,
    help="Milliseconds inside a busy model server.",
)
@click.option(
    "--model",
    "models",
    multiple=True,
    metavar="NAME[:max_batch=N,latency_budget=MS]",
    help="Batching parameters of one published model; repeatable.",
)
@click.option("--measured", is_flag=True, help="Time published models on this machine.")
@click.option(
    "--api-processes", default=2, show_default=True, help="Processes of all APIs."
)
@click.option("--workers", default=16, show_default=True, help="Job workers, at most.")
@click.option("--output", type=click.Path(path_type=Path), help="Write the files here.")
@click.option(
    "--check", type=click.Path(path_type=Path), help="Only check these files."
)
def serving_config(
    device: Device,
    cores: int,
    max_batch: int | None,
    latency_budget: float,
    models: tuple[str, ...],
    measured: bool,
    api_processes: int,
    workers: int,
    output: Path | None,
    check: Path | None,
) -> None:
    """Compute TensorFlow Serving's files from the machine, explain and write them.

    Without --output the files are only printed.
    """
    from kennel.serving_config.files import ServingOptions

    if check is not None:
        _check(check)
        return
    options = ServingOptions(
        device,
        cores,
        latency_budget_ms=latency_budget,
        api_processes=api_processes,
        workers=workers,
    )
    _configure(options, max_batch, models, measured, output)


def _configure(
    options: ServingOptions,
    max_batch: int | None,
    models: Sequence[str],
    measured: bool,
    output: Path | None,
) -> None:
    from kennel.serving_config.files import (
        model_files,
        parse_model_options,
        serving_files,
        write_files,
    )
    from kennel.serving_config.measured import make_plan, measure_models

    models_dir = KennelSettings.from_env(os.environ).models_dir
    own = parse_model_options(models, models_dir)
    times = measure_models(models_dir, options.device, _say) if measured else {}
    _print_times(times.values())
    plan = make_plan(options, max_batch, own, times)
    texts = serving_files(plan.options, per_model=bool(own))
    of_models = model_files(models_dir, plan.options, plan.own) if own else {}
    click.echo("\n".join(texts.values()))
    for warning in plan.warnings:
        _say(f"warning: {warning}")
    if not measured:
        _say(
            "Not measured: whether batches fit the latency budget of "
            f"{options.latency_budget_ms:g} ms is not known; --measured times them."
        )
    if output is None:
        click.echo("Nothing was written: --output DIR writes these files.")
        return
    paths = write_files(texts, output) + write_files(of_models, models_dir)
    click.echo("\n".join(f"wrote {path}" for path in paths))
    if of_models:
        _say(
            "A model server reads its flags when it starts: restart it. A model that is "
            "published for the first time needs this command again, or is not batched."
        )


def _print_times(times: Iterable[BatchTimes]) -> None:
    for each in times:
        click.echo(f"{each.name}, measured on this machine:")
        for size, seconds in each.seconds.items():
            click.echo(
                f"  batch {size:>3} {1000 * seconds:>9.1f} ms "
                f"{each.rate(size):>8.1f} images/s"
            )


def _say(line: str) -> None:
    click.echo(line, err=True)


def _check(folder: Path) -> None:
    from kennel.commands.serve import model_server
    from kennel.serving_config.files import (
        FLAGS_FILE,
        check_model_files,
        check_serving_files,
        flags_in,
        read_files,
    )
    from models.wire.config import check_batching_flags

    texts = read_files(folder)
    parameters = check_serving_files(texts)
    # The embedded server takes TensorFlow Serving's flags by their names and types.
    flags = model_server.make_context(FLAGS_FILE, flags_in(texts[FLAGS_FILE])).params
    check_batching_flags(flags["enable_batching"], flags["batching_parameters_file"])
    if flags["enable_per_model_batching_parameters"]:
        check_model_files(KennelSettings.from_env(os.environ).models_dir)
    click.echo(
        f"{folder}: sound. Requests of up to {parameters.max_batch_size} images, "
        f"{parameters.computed_at_once} computed at once in "
        f"{parameters.num_batch_threads} threads."
    )

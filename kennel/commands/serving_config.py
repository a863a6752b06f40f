"""`kennel serving-config`: compute, explain, write and check a model server's files."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

import click

from kennel.settings import KennelSettings
from models.environment import usable_processors

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from kennel.serving_config.files import Device, ServingConfig, ServingOptions
    from kennel.serving_config.measured import BatchTimes, Plan


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
    help="Parameters of its own for a published model; repeatable.",
)
@click.option("--measured", is_flag=True, help="Time published models on this machine.")
@click.option("--api-processes", default=2, show_default=True, help="Of all APIs.")
@click.option("--workers", default=16, show_default=True, help="Job workers at most.")
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

    Without --output nothing is written but to the terminal.
    """
    from kennel.serving_config.files import Clients, ServingOptions

    if check is not None:
        _check(check)
        return
    clients = Clients(api_processes, workers)
    wishes = ServingOptions(
        device, cores, latency_budget_ms=latency_budget, clients=clients
    )
    _configure(wishes, max_batch, models, measured, output)


def _configure(
    wishes: ServingOptions,
    max_batch: int | None,
    models: Sequence[str],
    measured: bool,
    output: Path | None,
) -> None:
    from kennel.serving_config.files import (
        model_texts,
        parse_model_options,
        serving_config,
    )
    from kennel.serving_config.measured import make_plan, measure_models

    models_dir = KennelSettings.from_env(os.environ).models_dir
    single = parse_model_options(models, models_dir)
    times = measure_models(models_dir, wishes.device, _say) if measured else {}
    print_times(times.values())
    plan = make_plan(wishes, max_batch, single, times)
    config = serving_config(plan.wishes, per_model=bool(single))
    own = model_texts(models_dir, plan.wishes, plan.single) if single else {}
    print_values(config)
    print_warnings(plan, measured=measured)
    if output is None:
        click.echo("\nNothing was written: --output DIR writes these files.")
        return
    _write(output, config.texts(), models_dir, own)


def _write(
    output: Path, texts: Mapping[str, str], models_dir: Path, own: Mapping[str, str]
) -> None:
    from kennel.serving_config.files import write_files, write_model_files

    written = write_files(texts, output) + write_model_files(models_dir, own)
    click.echo("\n" + "\n".join(f"wrote {path}" for path in written))
    if own:
        _say(
            "A model server reads its flags when it starts: restart it. A model that is "
            "published for the first time needs this command again, or is not batched."
        )


def _say(line: str) -> None:
    click.echo(line, err=True)


def _check(folder: Path) -> None:
    from kennel.commands.serve import model_server
    from kennel.serving_config.files import (
        FLAGS_FILE,
        check_model_files,
        check_texts,
        flags_in,
        read_files,
    )
    from models.wire.config import check_batching_flags

    texts = read_files(folder)
    parameters = check_texts(texts)
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


def print_times(times: Iterable[BatchTimes]) -> None:
    """Print what each batch took, and the images/s of it."""
    for each in times:
        click.echo(f"{each.name}, measured on this machine:")
        for size, seconds in each.seconds.items():
            click.echo(
                f"  batch {size:>3} {1000 * seconds:>9.1f} ms "
                f"{each.rate(size):>8.1f} images/s"
            )


def print_values(config: ServingConfig) -> None:
    """Print each value of *config*, and below it the reason."""
    for settings in (config.batching, config.monitoring, config.flags):
        click.echo()
        for each in settings:
            click.echo(f"{each.name} = {each.value}")
            click.echo(f"    {each.why}")


def print_warnings(plan: Plan, *, measured: bool) -> None:
    """Print what the values of *plan* will not achieve, and what nobody knows yet."""
    for warning in plan.warnings:
        click.echo(f"warning: {warning}", err=True)
    if not measured:
        click.echo(
            "Not measured: whether batches fit the latency budget of "
            f"{plan.wishes.latency_budget_ms:g} ms is not known; --measured times them.",
            err=True,
        )

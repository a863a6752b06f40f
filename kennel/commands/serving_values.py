"""A model server's values and a model's times in the terminal."""

from __future__ import annotations

from collections.abc import Iterable
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from kennel.serving_config.budget import BatchTimes
    from kennel.serving_config.files import ServingConfig
    from kennel.serving_config.plan import Plan


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

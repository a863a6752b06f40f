"""The command that shows the whole job on real photos."""

from __future__ import annotations

import os

import click

from kennel.settings import KennelSettings


@click.command(epilog="Examples: kennel demo; QUICK=1 kennel demo; kennel demo --quick")
@click.option(
    "--quick", is_flag=True, envvar="QUICK", help="A seeded subset of 400 photos."
)
@click.option(
    "--model-only",
    is_flag=True,
    help="Stop when the model is published; serve nothing.",
)
def demo(quick: bool, model_only: bool) -> None:
    """Do the main job on real photos, start to end, and leave the CSV and a report."""
    from kennel.demo.demo import Demo

    job = Demo(KennelSettings.from_env(os.environ), click.echo, quick=quick)
    if model_only:
        job.publish_model()
    else:
        job.run()

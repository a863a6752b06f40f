"""Latency of single photos without and beside a folder job.

`python -m benchmarks.job_traffic`: photos are posted at half of the stack's capacity,
or at --rate, at random times as by independent people (the same times in both loads);
first alone, then while two workers are busy with a job that does not end.
"""

from __future__ import annotations

import tempfile
import time
from pathlib import Path

import click

from benchmarks.harness.baselines import BareModel
from benchmarks.harness.load import LoadResult, Target
from benchmarks.harness.photos import LARGE, link_folder
from benchmarks.harness.stack import publish_trivial_model, running_stack, settings
from kennel.client import Client

CLIENTS = 8
PHOTOS_PER_SECOND = 20
"""More than a slow model computes; few enough for small shards, which are counted."""

_FOLDER = "photos"


@click.command()
@click.option("--seconds", default=120.0, show_default=True, help="Each of the loads.")
@click.option("--workers", default=2, show_default=True)
@click.option("--rate", type=float, help="Requests a second.")
@click.option("--trivial", is_flag=True, help="A model that costs next to nothing.")
def main(seconds: float, workers: int, rate: float | None, trivial: bool) -> None:
    """Print p50 and p99 without a job and beside one, and how fast the job is."""
    with tempfile.TemporaryDirectory(prefix="kennel-photos-") as folder:
        root = Path(folder)
        photos = 100_000 if trivial else round(PHOTOS_PER_SECOND * seconds)
        link_folder(root / "data" / _FOLDER, photos, LARGE)
        if trivial:
            model, models_dir = publish_trivial_model(root / "models"), root / "models"
        else:
            models_dir = settings().models_dir
            model = BareModel(models_dir).name
        with running_stack(root / "data", workers, models_dir) as stack:
            target = Target(f"{stack.url}/v1/predict?model={model}")
            target.clients(2, 2)
            rate = rate or target.clients(CLIENTS, seconds / 4).rate / 2
            _measure(target, Client(stack.url), model, rate, seconds)


def _measure(
    target: Target, client: Client, model: str, rate: float, seconds: float
) -> None:
    alone = target.independent(rate, seconds)
    job = client.submit(_FOLDER, model=model)
    # The job begins at full speed; the first photos wait behind its calls.
    time.sleep(seconds / 4)
    full = _images_in(seconds / 2, client, job.id)
    target.independent(rate, seconds / 4)
    done = client.job(job.id).done
    beside = target.independent(rate, seconds)
    gentle = client.job(job.id).done - done
    client.cancel(job.id)
    click.echo(f"alone, {rate:.2g} requests/s: {_quantiles(alone)}")
    click.echo(
        f"beside a job: {_quantiles(beside)}, "
        f"p99 {beside.milliseconds(99) / alone.milliseconds(99):.2f} times that alone"
    )
    click.echo(
        f"the job, in whole shards: {full} images in {seconds / 2:.0f} s without people, "
        f"{gentle} in {seconds:.0f} s beside them"
    )


def _images_in(seconds: float, client: Client, job_id: str) -> int:
    done = client.job(job_id).done
    time.sleep(seconds)
    return client.job(job_id).done - done


def _quantiles(result: LoadResult) -> str:
    return (
        f"{result.statuses}, p50 {result.milliseconds(50):.1f} ms, "
        f"p99 {result.milliseconds(99):.1f} ms"
    )


if __name__ == "__main__":
    main()

"""A folder job from submit to CSV: its time besides the model, and its memory.

`python -m benchmarks.job`: 640 JPEG photos of 500x375 against the bare SavedModel at
batch 32. `--trivial --small --images 12500`: a model that costs next to nothing, so
that the rest shows: time, memory, and the share of fan-out and assembly. With
`--at-most worker=150 --at-most redis=30` it fails when a process of that name took more
megabytes.
"""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import click

from benchmarks.footprint import Footprint, watched
from benchmarks.harness.baselines import BareModel
from benchmarks.harness.photos import LARGE, SMALL, link_folder
from benchmarks.harness.stack import publish_trivial_model, running_stack, settings
from kennel.client import Client
from kennel.stack.local_stack import LocalStack

_FOLDER = "photos"


@dataclass(frozen=True)
class JobTimes:
    """One job, in seconds.

    Attributes:
        whole: from submit until the CSV is fetched.
        submit: until the API answered 202: listing, manifest, queueing.
        assembly: from the last shard to the report.
    """

    images: int
    whole: float
    submit: float
    assembly: float

    @property
    def rate(self) -> float:
        """Images a second."""
        return self.images / self.whole


def _read_bounds(
    _context: click.Context, _option: click.Parameter, texts: tuple[str, ...]
) -> dict[str, float]:
    try:
        return {name: float(mb) for name, mb in (each.split("=") for each in texts)}
    except ValueError as error:
        raise click.BadParameter("use NAME=MB, as in worker=150") from error


@click.command()
@click.option("--images", default=640, show_default=True)
@click.option("--workers", default=2, show_default=True)
@click.option("--trivial", is_flag=True, help="A model that costs next to nothing.")
@click.option("--small", is_flag=True, help="Photos of 160x120 instead of 500x375.")
@click.option("--name", help="The published model; default: the first there is.")
@click.option(
    "--at-most",
    "bounds",
    callback=_read_bounds,
    multiple=True,
    metavar="NAME=MB",
    help="Fail if a process with that name took more memory; can be repeated.",
)
def main(
    images: int,
    workers: int,
    trivial: bool,
    small: bool,
    name: str | None,
    bounds: dict[str, float],
) -> None:
    """Print the time and memory of a folder job."""
    with tempfile.TemporaryDirectory(prefix="kennel-photos-") as folder:
        root = Path(folder)
        link_folder(root / "data" / _FOLDER, images, SMALL if small else LARGE)
        if trivial:
            model = publish_trivial_model(root / "models")
            times, footprint = _run(root / "data", workers, model, root / "models")
            _report(times, footprint)
            footprint.check(bounds)
            return
        bare = BareModel(settings().models_dir, name)
        before = bare.images_per_second(32, batches=6)
        times, footprint = _run(root / "data", workers, bare.name, None)
        after = bare.images_per_second(32, batches=6)
    _report(times, footprint)
    click.echo(
        f"bare SavedModel, batch 32: {before:.2f} and {after:.2f} images/s, "
        f"ratio {2 * times.rate / (before + after):.3f}"
    )
    footprint.check(bounds)


def _run(
    input_root: Path, workers: int, model: str, models_dir: Path | None
) -> tuple[JobTimes, Footprint]:
    with (
        running_stack(input_root, workers, models_dir) as stack,
        # A shard's process lives for only a batch or two.
        watched(stack.pids(), 2.0 if models_dir is None else 0.1) as footprint,
    ):
        times = _measure(stack, model)
    return times, footprint


def _measure(stack: LocalStack, model: str) -> JobTimes:
    client = Client(stack.url, timeout_seconds=600)
    began = time.perf_counter()
    job = client.submit(_FOLDER, model=model)
    submitted = time.perf_counter()
    client.wait(job.id)
    rows = client.submission(job.id).count(b"\n") - 1
    ended = time.perf_counter()
    run = stack.runs_dir / job.id
    last = max(path.stat().st_mtime for path in (run / "shards").iterdir())
    assembly = (run / "report.json").stat().st_mtime - last
    return JobTimes(rows, ended - began, submitted - began, assembly)


def _report(times: JobTimes, footprint: Footprint) -> None:
    share = (times.submit + times.assembly) / times.whole
    click.echo(
        f"job of {times.images:,} images, submit to CSV: {times.whole:.1f} s, "
        f"{times.rate:.2f} images/s"
    )
    click.echo(
        f"fan-out {times.submit:.2f} s, assembly {times.assembly:.2f} s: "
        f"{100 * share:.1f} % of it"
    )
    peaks = ", ".join(f"{name} {mb:.0f} MB" for name, mb in footprint.peaks().items())
    click.echo(f"largest processes: {peaks}")


if __name__ == "__main__":
    main()

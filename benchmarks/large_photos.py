"""Photos of a phone: what decoding one costs, and the memory of the API processes.

`python -m benchmarks.large_photos`: 8 clients post 1,000 photos of 12 megapixels. The
baseline is decoding the same photo whole, as models from before drafting have it.
"""

from __future__ import annotations

import os
import subprocess
import sys
import time

import click

from benchmarks.harness.baselines import MALLOC
from benchmarks.harness.photos import camera_jpeg
from benchmarks.harness.stack import (
    CARD,
    peak_megabytes,
    resident_megabytes,
    tree,
    trivial_stack,
)
from benchmarks.hostile import CLIENTS, Body, post_all
from models.images.codec import decode_image
from models.images.preprocessing import Preprocessing

SIZE = (4_000, 3_000)
MOST_MEGABYTES = 300.0
_SECONDS = 3.0


@click.command()
@click.option("--photos", default=1_000, show_default=True)
@click.option("--only-decode", is_flag=True, help="Decode in this process, and end.")
def main(photos: int, only_decode: bool) -> None:
    """Print processor time a photo, whole and drafted, and the API's memory."""
    if only_decode:
        _print_costs()
        return
    command = [sys.executable, "-m", "benchmarks.large_photos", "--only-decode"]
    subprocess.run(command, env={**os.environ, **MALLOC}, check=True)
    with trivial_stack() as (stack, target):
        _, *workers = tree(stack.pids()["api"])
        before = [resident_megabytes(pid) for pid in workers]
        began = time.monotonic()
        body = Body(camera_jpeg(1, SIZE))
        statuses = post_all({"12 megapixels": body}, target.url, photos)
        seconds = time.monotonic() - began
        children = [pid for each in workers for pid in tree(each)[1:]]
        most = max(map(peak_megabytes, children))
        after = [resident_megabytes(pid) for pid in workers]
        peaks = [peak_megabytes(pid) for pid in workers]
    click.echo(
        f"{photos:,} photos of {len(body.content) / 1e6:.1f} MB from {CLIENTS} clients: "
        f"{dict(statuses)}, {photos / seconds:.1f} a second"
    )
    click.echo(
        f"API processes {_list(before)} MB, peaks {_list(peaks)}, then {_list(after)}; "
        f"largest process for decoding {most:.0f} MB at its peak"
    )
    if set(statuses) != {200} or max(peaks) > MOST_MEGABYTES:
        raise SystemExit(f"not all got a 200, or above {MOST_MEGABYTES:g} MB")


def _print_costs() -> None:
    for width, height in ((500, 375), (1600, 1200), SIZE, (8_160, 6_144)):
        image = camera_jpeg(1, (width, height))
        whole, drafted = (_milliseconds(image, version) for version in Preprocessing)
        click.echo(
            f"{width} x {height}: {whole:.1f} ms of a core whole, {drafted:.1f} drafted, "
            f"{drafted / whole:.2f} of it"
        )


def _milliseconds(image: bytes, version: Preprocessing) -> float:
    count, began = 0, time.process_time()
    while time.process_time() < began + _SECONDS:
        decode_image(image, CARD.image_size, version)
        count += 1
    return 1000 * (time.process_time() - began) / count


def _list(megabytes: list[float]) -> str:
    return " and ".join(f"{each:.0f}" for each in megabytes)


if __name__ == "__main__":
    main()

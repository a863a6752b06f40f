"""One image of a shard kills its decoder, or raises an error in our own code."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.faults.ordeal import Ordeal
from tests.pictures import grey
from tests.worker.world import SHARD_SIZE, oracle, request
from worker.queue import JobStatus

BREAKING = """
import os, signal
import models.images.files, models.images.codec

def breaking(inner):
    def wrapped(first, *arguments, **options):
        result = inner(first, *arguments, **options)
        content = result if isinstance(result, bytes) else first
        way = inner.__name__.encode()
        if content.endswith(way + b" kills"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if content.endswith(way + b" raises"):
            raise AssertionError("a defect")
        return result
    return wrapped

for module, name in (
    (models.images.codec, "decode_image"), (models.images.files, "read_image_file")
):
    setattr(module, name, breaking(getattr(module, name)))
"""
"""What every Python of the workers runs first."""

WAYS = (
    *("decode_image kills", "decode_image raises"),
    *("read_image_file kills", "read_image_file raises"),
)


def begin(ordeal: Ordeal, folder: Path, way: str, **asked: str) -> JobStatus:
    """A job of two shards whose sixth photo breaks them in that *way*."""
    world = ordeal.world
    (folder / "sitecustomize.py").write_text(BREAKING)
    root = Path(__file__).parents[2]
    world.extra_env["PYTHONPATH"] = f"{folder}:{root}"
    world.photos_of(2 * SHARD_SIZE)
    (world.photos / "6.png").write_bytes(grey(99) + way.encode())
    job = world.queue.submit(request(**asked))
    ordeal.start()
    return job


@pytest.mark.parametrize("way", WAYS)
def test_image_that_breaks_its_shard_is_found_and_spoils_no_other(
    ordeal: Ordeal, tmp_path: Path, way: str
) -> None:
    ordeal.world.photos_of(2 * SHARD_SIZE)
    expected = oracle(ordeal.world, request()).splitlines()
    expected[6] = "6,0.50000000"

    job = begin(ordeal, tmp_path, way)
    status = ordeal.world.wait_for(job, "succeeded", 90)

    assert ordeal.world.csv(job).splitlines() == expected
    assert status.unreadable == 1
    report = json.loads((ordeal.world.runs_dir / job.id / "report.json").read_text())
    [named] = report["unreadable_files"]
    assert (named["file"], named["code"]) == ("6.png", "breaks_decoder")


def test_image_that_breaks_its_shard_can_end_the_job_alone(
    ordeal: Ordeal, tmp_path: Path
) -> None:
    job = begin(ordeal, tmp_path, "decode_image kills", on_unreadable="fail")

    failed = ordeal.world.wait_for(job, "failed", 90)

    assert "1 files cannot be read as images (6.png: the image breaks its" in str(
        failed.error
    )
    assert "5.png" not in str(failed.error)

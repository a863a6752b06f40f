"""What report.json says beside the CSV."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from models import VERSION
from tests.fake_model_server import CARD
from tests.worker.world import World, oracle, request
from worker.artefacts import read_seconds, render_artefact
from worker.attempts import count_attempts, record_attempt, record_failure
from worker.run import Run
from worker.runs import find_run

SCORED = replace(
    CARD, metrics={"validation": {"accuracy": 0.9, "confusion_matrix": [[1, 0]]}}
)


def report_of(world: World) -> dict[str, Any]:
    path = world.oracle_dir / "oracle" / "report.json"
    content: dict[str, Any] = json.loads(path.read_text())
    return content


def test_report_times_the_shards_and_sums_up_the_scores(world: World) -> None:
    world.photos_of(20)
    (world.photos / "5.png").write_bytes(b"no image")

    lines = oracle(world, request()).splitlines()

    report = report_of(world)
    assert (report["schema"], report["kennel"]) == (2, VERSION)
    assert report["shards"]["count"] == 3
    assert 0 < report["shards"]["slowest_seconds"] <= report["shards"]["seconds"]
    assert report["attempts"] == {"begun": 0, "broken_off": 0}
    assert sum(report["predicted"].values()) == 19
    assert sum(report["histogram"]["counts"]["dog"]) == 19
    ids = "".join(f"{line.partition(',')[0]}\n" for line in lines[1:])
    assert report["ids_sha256"] == hashlib.sha256(ids.encode()).hexdigest()


def test_job_keeps_the_card_of_its_version_for_the_report(world: World) -> None:
    world.photos_of(3)
    world.start_worker()

    job = world.queue.submit(request(card=SCORED))
    world.wait_for(job, "succeeded")

    report = world.queue.report(job.id)
    manifest = json.loads((world.runs_dir / job.id / "manifest.json").read_text())
    assert "card" not in manifest["request"]
    assert (report["card"]["name"], report["card"]["version"]) == ("pets", 1)
    assert report["card"]["metrics"] == {"validation": {"accuracy": 0.9}}
    assert report["attempts"] == {"begun": 2, "broken_off": 0}
    assert report["queued_seconds"] >= 0


def test_report_without_a_card_says_so(world: World) -> None:
    world.photos_of(1)

    oracle(world, request())

    assert report_of(world)["card"] is None


def test_attempts_are_counted_with_those_that_told_why(world: World) -> None:
    world.photos_of(3)
    run = find_run(world.runs_dir, world.queue.submit(request()).id)
    for work in ("00000", "00000", "assemble"):
        record_attempt(run, work)
    record_failure(run, "00000", "no model")

    assert count_attempts(run) == (3, 1)


def test_seconds_of_a_damaged_artefact_count_as_none(tmp_path: Path) -> None:
    run = Run(tmp_path)
    path = tmp_path / "a.json"
    path.write_text(render_artefact((), 1.25))
    known = read_seconds(path)
    path.write_text("[]")

    assert (known, read_seconds(path)) == (1.25, 0)
    assert read_seconds(run.shard_path(0)) == 0

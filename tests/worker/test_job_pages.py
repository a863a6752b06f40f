"""Pages of jobs: newest first, each job once, and cheap because little is read."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from models.errors import InvalidRequestError
from tests.finished_runs import finish_run
from tests.worker.world import World, request
from worker.manifest import peek_created, peek_owner, read_manifest
from worker.runs import find_run
from worker.status import read_status


def jobs_of(world: World, count: int) -> list[str]:
    """That many jobs, newest first."""
    world.photos_of(1)
    return [world.queue.submit(request()).id for _ in range(count)][::-1]


def test_every_job_is_on_one_page(world: World) -> None:
    made = jobs_of(world, 5)
    seen: list[str] = []
    after = None
    while True:
        page = world.queue.page(2, after=after)
        seen += [job.id for job in page.jobs]
        after = page.next
        if after is None:
            break

    assert seen == made


def test_page_that_is_just_full_is_the_last(world: World) -> None:
    jobs_of(world, 2)

    assert world.queue.page(2).next is None


def test_jobs_are_chosen_by_state(world: World) -> None:
    made = jobs_of(world, 3)
    world.queue.cancel(made[1])
    find_run(world.runs_dir, made[2]).begin()

    found = {
        state: [job.id for job in world.queue.page(state=state).jobs]
        for state in ("queued", "running", "succeeded", "failed", "cancelled")
    }
    assert found == {
        "queued": [made[0]],
        "running": [made[2]],
        "succeeded": [],
        "failed": [],
        "cancelled": [made[1]],
    }


def test_job_deleted_between_two_pages_is_told(world: World) -> None:
    made = jobs_of(world, 2)
    world.queue.cancel(made[0])
    world.queue.delete(made[0])

    with pytest.raises(InvalidRequestError, match="begin with the first page"):
        world.queue.page(after=made[0])


def test_damaged_manifest_hides_no_other_job(world: World) -> None:
    made = jobs_of(world, 2)
    (world.runs_dir / made[0] / "manifest.json").write_text("{")

    assert [job.id for job in world.queue.page().jobs] == [made[1]]


def test_moment_of_a_submit_is_found_in_the_first_bytes(
    world: World, tmp_path: Path
) -> None:
    (job,) = jobs_of(world, 1)
    path = world.runs_dir / job / "manifest.json"
    text = path.read_text()
    created = read_manifest(text).created
    cut, reordered = tmp_path / "cut.json", tmp_path / "reordered.json"
    cut.write_text(text[:300])
    reordered.write_text(json.dumps(json.loads(text), sort_keys=True))

    assert peek_created(path) == peek_created(cut) == peek_created(reordered) == created


def test_owner_of_a_job_is_read_from_the_manifests_head(
    world: World, tmp_path: Path
) -> None:
    world.photos_of(1)
    names = ["a" * 64, "ann", None]
    jobs = [world.queue.submit(request(owner=name)).id for name in names]
    paths = [world.runs_dir / job / "manifest.json" for job in jobs]
    cut, reordered = tmp_path / "cut.json", tmp_path / "reordered.json"
    cut.write_text(paths[0].read_text()[:300])
    content = json.loads(paths[1].read_text())
    reordered.write_text(json.dumps(content, sort_keys=True))

    assert [peek_owner(path) for path in (cut, reordered, paths[2])] == names
    assert [read_manifest(each.read_text()).request.owner for each in paths] == names
    # Workers of the version before take a request of these members only.
    assert "owner" not in json.loads(paths[0].read_text())["request"]
    assert [job.id for job in world.queue.owned_by("ann").page().jobs] == [jobs[1]]


def test_retried_job_is_not_shown_as_it_ended(world: World) -> None:
    (job,) = jobs_of(world, 1)
    world.queue.cancel(job)
    run = find_run(world.runs_dir, job)
    assert read_status(run).state == "cancelled"
    world.queue.retry(job)

    assert read_status(run).state == "queued"


def test_report_tells_what_its_shards_would(world: World) -> None:
    (job,) = jobs_of(world, 1)
    listed = {"id": "1", "file": "1.png", "code": "empty_image", "detail": "empty"}
    report = {"unreadable": 1, "unreadable_files": [listed], "images_per_second": 2.0}
    finish_run(find_run(world.runs_dir, job), "id,label\n1,0.5\n", report)

    status = world.queue.status(job)

    assert (status.done, status.unreadable, status.images_per_second) == (1, 1, 2.0)
    assert status.unreadable_files == (listed,)


def test_jobs_are_chosen_by_the_beginning_of_their_id(world: World) -> None:
    made = jobs_of(world, 3)
    start = made[1][:12]

    page = world.queue.page(prefix=start)

    assert [job.id for job in page.jobs] == [made[1]]
    assert world.queue.page(prefix="no-such").jobs == ()
    assert world.queue.owned_by("ann").page(prefix=start).jobs == ()

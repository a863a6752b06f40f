"""Folder jobs in a browser: from the form to the bytes of the CSV."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from tests.pictures import write_folder
from tests.worker.world import World, request
from worker.queue import JobQueue

if TYPE_CHECKING:
    from playwright.sync_api import FilePayload, Page


@pytest.fixture
def queue(world: World) -> JobQueue:
    """Here Redis is there."""
    return world.queue


@pytest.fixture(autouse=True)
def photos(world: World) -> None:
    world.photos_of(20)
    (world.photos / "7.png").write_bytes(b"no photo")


def submit(page: Page) -> str:
    """Start a job by its form; its id."""
    page.goto("/jobs")
    page.get_by_label("Folder", exact=True).fill("test")
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs/*")
    return page.url.rsplit("/", 1)[1]


def test_job_is_watched_to_its_csv(page: Page, world: World) -> None:
    job = submit(page)
    page.wait_for_selector(".state:text-is('queued')")
    world.start_worker()
    page.wait_for_selector(".state:text-is('succeeded')")
    with page.expect_download() as download:
        page.get_by_role("link", name="Download CSV").click()

    content = Path(download.value.path()).read_bytes()
    assert content == world.queue.submission(job).read_bytes()
    assert download.value.suggested_filename == "submission.csv"
    page.wait_for_selector(f"text={hashlib.sha256(content).hexdigest()}")
    assert "7.png" in page.locator("#unreadable-rows").inner_text()
    assert page.locator("#counts").inner_text() == "20 photos, 1 unreadable"
    check_scores(page)


def check_scores(page: Page) -> None:
    page.wait_for_selector("#scores:not([hidden])")
    assert page.locator("#histogram .column").count() == 20
    assert page.locator("#uncertain li").count() >= 19
    page.wait_for_function("document.querySelector('#uncertain img').naturalWidth > 0")
    page.get_by_label("Probability of").select_option("cat")


def test_job_can_be_cancelled_and_go_on(page: Page) -> None:
    submit(page)
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_selector(".state:text-is('cancelled')")
    page.get_by_role("button", name="Retry").click()

    page.wait_for_selector(".state:text-is('queued')")


def test_list_shows_new_jobs_by_itself(page: Page, world: World) -> None:
    first = world.queue.submit(request()).id
    page.goto("/jobs")
    page.wait_for_selector("#job-rows .state:text-is('queued')")
    world.queue.cancel(first)
    page.wait_for_selector("#job-rows .state:text-is('cancelled')")

    assert page.locator("#job-rows th a").get_attribute("href") == f"/jobs/{first}"
    assert page.locator("#job-rows .counts").inner_text() == "0 of 20 photos"
    assert "probability of dog" in page.locator("#job-rows").inner_text()


def test_job_is_deleted_once_that_is_confirmed(page: Page, world: World) -> None:
    job = submit(page)
    page.get_by_role("button", name="Cancel").click()
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Delete").click()
    assert world.queue.status(job).state == "cancelled"
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Delete").click()
    page.wait_for_url("**/jobs")
    page.wait_for_selector("#jobs-empty:not([hidden])")

    assert world.queue.jobs() == []


def test_older_jobs_are_on_the_next_page(page: Page, world: World) -> None:
    made = [world.queue.submit(request()).id for _ in range(101)]
    page.goto("/jobs")
    page.wait_for_selector("#job-rows tr")
    assert page.locator("#job-rows tr").count() == 100
    page.get_by_role("link", name="Older", exact=True).click()
    page.wait_for_url("**/jobs?after=*")
    page.wait_for_selector("#job-rows tr")

    oldest = page.locator("#job-rows th a").get_attribute("href")
    assert oldest == f"/jobs/{made[0]}"
    page.get_by_role("link", name="Newest").click()
    page.wait_for_url("**/jobs")


def test_refused_job_says_why(page: Page) -> None:
    page.goto("/jobs")
    page.get_by_label("Folder", exact=True).fill("nothing")
    page.get_by_role("button", name="Start").click()

    assert "there is no such folder" in page.get_by_role("alert").first.inner_text()


def test_archive_is_uploaded_with_the_forms_answers(page: Page) -> None:
    page.goto("/jobs")
    page.get_by_label("Upload an archive").check()
    archive: FilePayload = {"name": "a.zip", "mimeType": "x/zip", "buffer": b"PK"}
    page.get_by_label("Archive", exact=True).set_input_files(archive)
    with page.expect_request("**/v1/jobs") as sent:
        page.get_by_role("button", name="Start").click()

    headers = sent.value.headers
    assert sent.value.method == "POST"
    assert headers["content-type"].startswith("multipart/form-data; boundary=")
    assert len(headers["idempotency-key"]) == 32


def test_sample_is_sent_and_decides_the_format(page: Page, world: World) -> None:
    sample = "id,label\n" + "".join(f"{number},0\n" for number in range(20, 0, -1))
    page.goto("/jobs")
    page.get_by_label("Folder", exact=True).fill("test")
    page.get_by_text("More choices").click()
    payload: FilePayload = {
        "name": "s.csv",
        "mimeType": "text/csv",
        "buffer": sample.encode(),
    }
    page.get_by_label("Kaggle's sample").set_input_files(payload)
    assert page.get_by_label("Format").input_value() == ""
    page.get_by_role("button", name="Start").click()
    page.wait_for_url("**/jobs/*")

    kept = world.runs_dir / page.url.rsplit("/", 1)[1] / "sample_submission.csv"
    assert kept.read_text() == sample
    page.goto("/jobs")
    page.get_by_text("More choices").click()
    page.get_by_label("Kaggle's sample").set_input_files(payload)
    page.get_by_label("Kaggle's sample").set_input_files([])
    assert page.get_by_label("Format").input_value() == "kaggle-binary"


def test_form_suggests_folders_and_labels(page: Page, world: World) -> None:
    write_folder(world.input_root / "drivers", 1)
    page.goto("/jobs")
    page.wait_for_selector("#positive option", state="attached")

    folders = page.locator("#folders option").evaluate_all(
        "all => all.map(o => o.value)"
    )
    assert folders == ["drivers", "test"]
    assert page.get_by_label("Probability of").input_value() == "dog"
    page.get_by_label("Format").select_option("full")
    assert page.get_by_label("Probability of").is_hidden()

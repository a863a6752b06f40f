"""The page of a rollout: live figures, as text and charts."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from service.rollout.counters import counts_key
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.processes import wait_until
from tests.service.pages.test_looks import SCHEMES, Scheme, overflow, violations
from tests.service.rollout.rollouts_file import ROLLOUT, write_rollout
from worker.queue import JobQueue

if TYPE_CHECKING:
    from playwright.sync_api import Page

PATH = "/models/pets/rollout"
COUNTS = {
    "stable.requests": 1900,
    "stable.images": 1900,
    "stable.label.cat": 1100,
    "stable.label.dog": 800,
    "stable.latency.47": 1700,
    "stable.latency.53": 200,
    "stable.score.0": 900,
    "stable.score.1": 200,
    "stable.score.19": 800,
    "canary.requests": 101,
    "canary.images": 100,
    "canary.errors": 1,
    "canary.label.cat": 30,
    "canary.label.dog": 70,
    "canary.latency.52": 90,
    "canary.latency.61": 10,
    "canary.score.0": 25,
    "canary.score.9": 5,
    "canary.score.19": 70,
    "pairs.images": 40,
    "pairs.same": 36,
    "pairs.difference": 2_200_000,
}


@pytest.fixture
def settings(settings: ServiceSettings, tmp_path: Path) -> ServiceSettings:
    write_rollout(tmp_path / "models", percent=5)
    return replace(settings, models_dir=tmp_path / "models")


@pytest.fixture
def queue(settings: ServiceSettings, redis_server: RedisServer) -> JobQueue:
    queue = JobQueue(redis_server.url, settings.runs_dir, settings.input_root)
    queue.counts.add(counts_key(ROLLOUT), COUNTS)
    return queue


def shown(page: Page) -> str:
    page.goto(PATH)
    page.wait_for_selector("#comparison:not([hidden])")
    return page.inner_text("main")


def test_versions_are_compared(page: Page) -> None:
    text = shown(page)

    assert "5 % for version 2" in text
    assert "90.0 %" in text
    assert "far more than by chance" in text
    assert page.inner_text("#sides tr:nth-child(2)").split()[:3] == ["Errors", "0", "1"]
    assert page.locator("#histogram rect").count() == 40


def test_figures_are_live(page: Page, queue: JobQueue) -> None:
    shown(page)

    queue.counts.add(counts_key(ROLLOUT), {"stable.requests": 100})

    wait_until(
        lambda: "2,000" in page.inner_text("#sides tr:nth-child(1)"), "the new count"
    )


def test_end_is_shown(page: Page, settings: ServiceSettings) -> None:
    shown(page)

    write_rollout(settings.models_dir, percent=100, state="promoted")

    page.wait_for_selector("text=Version 2 was promoted")


@pytest.mark.parametrize("scheme", SCHEMES)
def test_page_keeps_the_rules_of_accessibility(page: Page, scheme: Scheme) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    shown(page)
    page.click("text=As a table")

    assert violations(page) == []


@pytest.mark.parametrize("width", [360, 1600])
def test_page_fits_its_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    shown(page)

    assert overflow(page) <= 0


def test_model_without_a_rollout_says_how_to_begin(
    page: Page, settings: ServiceSettings
) -> None:
    (settings.models_dir / "rollouts.json").unlink()
    wait_until(lambda: page.goto(PATH) and page.query_selector(".empty"), "the change")

    assert "kennel rollout start pets VERSION" in page.inner_text("main")

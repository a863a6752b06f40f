"""Accessibility of every page: axe's rules, light and dark, on a telephone."""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Literal

import pytest

from tests.pictures import grey
from tests.service.pages.gestures import choose

if TYPE_CHECKING:
    from playwright.sync_api import Page

Scheme = Literal["light", "dark"]
SCHEMES: tuple[Scheme, ...] = ("light", "dark")
PATHS = ("/", "/jobs", "/models", "/models/pets", "/nothing")
ANSWERED = {"rex.png": grey(255), "notes.txt": b"no photo"}


def overflow(page: Page) -> int:
    script = "document.documentElement.scrollWidth - innerWidth"
    return int(page.evaluate(script))


def violations(page: Page) -> list[str]:
    try:
        axe = import_module("axe_playwright_python.sync_playwright").Axe()
    except ImportError:
        if os.environ.get("CI") == "true":
            pytest.fail("no axe: pip install axe-playwright-python")
        pytest.skip("no axe: pip install axe-playwright-python")
    found = axe.run(page).response["violations"]
    return [f"{each['id']}: {node['html']}" for each in found for node in each["nodes"]]


@pytest.mark.parametrize("scheme", SCHEMES)
def test_pages_keep_the_rules_of_accessibility(page: Page, scheme: Scheme) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    for path in PATHS:
        page.goto(path)

        assert violations(page) == [], path


@pytest.mark.parametrize("scheme", SCHEMES)
def test_answers_keep_the_rules_of_accessibility(page: Page, scheme: Scheme) -> None:
    page.emulate_media(color_scheme=scheme, reduced_motion="reduce")
    page.goto("/")
    choose(page, ANSWERED)
    page.click("text=What did it look at?")
    page.wait_for_selector("canvas")

    assert violations(page) == []


@pytest.mark.parametrize("width", [360, 1600])
def test_pages_fit_their_window(page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 800})
    for path in PATHS:
        page.goto(path)

        assert overflow(page) <= 0, path


def test_answers_fit_a_telephone(page: Page) -> None:
    page.set_viewport_size({"width": 360, "height": 800})
    page.goto("/")
    choose(page, {"a_long_name_without_any_break_in_it" * 4: b"", **ANSWERED})
    page.click("text=What did it look at?")
    page.wait_for_selector("canvas")

    assert overflow(page) <= 0


def test_dark_is_dark(page: Page) -> None:
    page.goto("/")
    shots = set()
    for scheme in SCHEMES:
        page.emulate_media(color_scheme=scheme)
        shots.add(page.screenshot())

    assert len(shots) == 2

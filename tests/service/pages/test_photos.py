"""Photos on the page /: how they are added, and their predictions."""

from __future__ import annotations

from typing import TYPE_CHECKING

import grpc
import pytest
from flask import Flask, Response, jsonify, request

from tests.pictures import grey
from tests.service.pages.gestures import choose, drop, paste, payloads
from tests.service.served_model import ServedModel

if TYPE_CHECKING:
    from playwright.sync_api import Locator, Page

DOG = {"rex.png": grey(153)}
"""0.6 for a dog."""

SNOW = {"snow.png": grey(255)}


def value(photo: Locator, label: str) -> str:
    return photo.locator(f'.bar[data-label="{label}"] .bar-value').inner_text()


def focused(page: Page, property_of_it: str) -> object:
    return page.evaluate(f"document.activeElement.{property_of_it}")


@pytest.fixture(autouse=True)
def opened(page: Page) -> None:
    page.goto("/")


def test_photos_are_answered_however_they_come(page: Page) -> None:
    for gesture in (choose, drop, paste):
        gesture(page, DOG)
    page.wait_for_selector('text="3 photos answered"')

    assert page.locator(".verdict").all_inner_texts() == ["dog 60.0 %"] * 3
    photo = page.locator(".photo").last
    assert (value(photo, "dog"), value(photo, "cat")) == ("60.0 %", "40.0 %")
    assert photo.locator(".by").inner_text() == "by pets, version 1"
    width = photo.locator(".bar.first .bar-fill").evaluate("bar => bar.style.width")
    assert width == "60%"


def test_clipping_is_shown_and_explained_where_it_matters(page: Page) -> None:
    choose(page, {**DOG, **SNOW})
    note = page.locator("#notes p").inner_text()
    dog, snow = page.locator(".photo").all()

    assert "between 5.0 % and 95.0 % (its clip bound)" in note
    assert value(snow, "dog") == "95.0 %"
    assert snow.locator(".bar.first .bar-note").inner_text() == "raw 100.0 %"
    assert dog.locator(".bar-raw, .bar-note").count() == 0


def test_many_photos_are_answered_in_their_order(page: Page) -> None:
    photos = {f"{number}.png": grey(number * 10) for number in range(20)}
    photos["7.png"] = b"no photo"
    choose(page, photos)
    page.wait_for_selector("text=19 photos answered, 1 could not be used")

    assert page.locator(".photo .file").all_inner_texts() == [*photos]
    assert page.locator(".photo.failed .file").all_inner_texts() == ["7.png"]
    assert "not a JPEG" in page.locator(".photo.failed .verdict").inner_text()
    assert value(page.locator(".photo").nth(15), "dog") == "58.8 %"


def test_one_bad_photo_alone_says_why(page: Page) -> None:
    choose(page, {"notes.txt": b"no photo"})

    assert "not a JPEG" in page.locator(".photo.failed .verdict").inner_text()


def test_too_many_photos_are_refused_before_they_are_sent(page: Page) -> None:
    choose(page, {f"{number}.png": grey(9) for number in range(65)})

    assert "the limit is 64" in page.get_by_role("alert").inner_text()
    assert page.locator(".photo").count() == 0


def test_heat_map_lies_over_the_photo(page: Page) -> None:
    choose(page, DOG)
    page.click("text=What did it look at?")
    page.wait_for_selector(".frame canvas")

    photo, canvas = (page.locator(f".frame {part}") for part in ("img", "canvas"))
    assert canvas.bounding_box() == photo.bounding_box()
    label = canvas.get_attribute("aria-label") or ""
    assert label.startswith("Heat map for dog, hottest at the ")
    page.get_by_label("Strength").fill("30")
    assert canvas.evaluate("canvas => canvas.style.opacity") == "0.3"
    page.get_by_role("combobox", name="For").select_option("cat")
    page.wait_for_selector("canvas[aria-label^='Heat map for cat']")


def test_version_that_cannot_explain_itself_is_not_asked_again(
    page: Page, served: ServedModel
) -> None:
    served.explains = False
    choose(page, {**DOG, **SNOW})
    page.wait_for_selector('text="2 photos answered"')
    page.locator("text=What did it look at?").first.click()
    page.wait_for_selector("text=export it again")

    assert page.locator("text=What did it look at?").count() == 0


def test_full_service_is_asked_once_more(page: Page, served: ServedModel) -> None:
    served.failure = grpc.StatusCode.RESOURCE_EXHAUSTED
    choose(page, DOG)
    page.wait_for_selector("text=The service is busy: trying again in 2 s.")
    served.failure = None

    assert page.locator(".photo.answered .verdict").inner_text() == "dog 60.0 %"


def test_work_can_be_cancelled_and_asked_again(page: Page, served: ServedModel) -> None:
    served.delay_seconds = 3
    choose(page, DOG)
    page.click("text=Cancel")
    page.wait_for_selector(".photo.cancelled")
    served.delay_seconds = 0
    page.click("text=Ask again")

    assert page.locator(".photo.answered .verdict").inner_text() == "dog 60.0 %"
    page.click("text=Clear")
    assert page.locator("#answers").is_hidden()


def test_service_that_is_gone_is_said_in_words(page: Page) -> None:
    page.context.set_offline(True)
    choose(page, DOG)

    assert "cannot be reached" in page.get_by_role("alert").inner_text()


def test_who_must_sign_in_is_shown_where(site_app: Flask, page: Page) -> None:
    def refuse() -> tuple[Response, int] | None:
        if request.path.startswith("/v1/"):
            return jsonify(detail="this needs an API key", code="unauthenticated"), 401
        return None

    site_app.before_request_funcs.setdefault(None, []).append(refuse)
    choose(page, DOG)

    alert = page.get_by_role("alert")
    assert alert.inner_text() == "This needs an API key Sign in"
    assert alert.locator("a").get_attribute("href") == "/login?next=%2F"


def test_command_line_asks_the_same(page: Page, site: str) -> None:
    choose(page, {"rex & co's.png": DOG["rex.png"]})
    page.wait_for_selector(".photo.answered")

    command = page.locator("#curl").inner_text()
    assert command == (
        f"curl -F image=@'rex & co'\\''s.png' '{site}/v1/predict?model=pets'"
    )


def test_all_can_be_done_by_keyboard(page: Page) -> None:
    # Expected from the first key on: a key can overtake the request to catch the dialog.
    with page.expect_file_chooser() as chooser:
        page.keyboard.press("Tab")
        assert focused(page, "textContent") == "Skip to the content"
        page.keyboard.press("Enter")
        page.wait_for_function("document.activeElement.id === 'content'")
        page.keyboard.press("Tab")
        assert focused(page, "id") == "files"
        page.keyboard.press("Enter")
    chooser.value.set_files(payloads(DOG))
    button = page.locator(".explain")
    button.focus()
    page.keyboard.press("Enter")
    page.wait_for_selector("canvas")

    assert focused(page, "dataset.part") == "label"

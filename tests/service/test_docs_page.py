"""GET /docs in a real browser, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

import pytest
from flask import Flask

from tests.service.site import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with serving(app) as running:
        yield running


def test_page_works_without_the_internet_and_complaints(
    browser: Browser, address: str
) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{address}/docs")
        operation = page.locator("#operations-health-health_alive")
        operation.locator(".opblock-summary-control").click()
        operation.locator(".try-out__btn").click()
        operation.locator(".execute").click()
        answer = operation.locator(".live-responses-table").inner_text()

    assert '"status": "alive"' in answer
    assert complaints == []
    assert all(url.startswith((address, "data:", "blob:")) for url in requests)

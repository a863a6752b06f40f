"""GET /docs in a real browser, under a policy that allows nothing from elsewhere."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path

import pytest
from flask import Flask, Response
from werkzeug.serving import make_server

CHROMIUM = Path("/usr/bin/chromium")
POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; "
    "img-src 'self' blob: data:; connect-src 'self'; form-action 'self'; "
    "base-uri 'none'; frame-ancestors 'none'"
)

READY = CHROMIUM.exists() and find_spec("playwright") is not None

pytestmark = pytest.mark.skipif(
    not READY and os.environ.get("CI") != "true",
    reason=f"no {CHROMIUM} or no playwright: pip install playwright",
)


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    @app.after_request
    def restrict(response: Response) -> Response:
        response.headers["Content-Security-Policy"] = POLICY
        return response

    server = make_server("127.0.0.1", 0, app, threaded=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_page_works_without_the_internet_and_complaints(address: str) -> None:
    from playwright.sync_api import sync_playwright

    complaints: list[str] = []
    requests: list[str] = []
    with sync_playwright() as tool:
        chromium = tool.chromium
        with chromium.launch(
            executable_path=CHROMIUM, args=["--no-sandbox"]
        ) as browser:
            page = browser.new_page()
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

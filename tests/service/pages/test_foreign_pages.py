"""Other sites' pages in a real browser cannot use the API or a user's session."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING

import pytest

from service.settings import ServiceSettings

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

FORM = (
    '<form method="post" action="{site}{path}" enctype="{kind}">'
    '<input name="input" value="test"><button>Go</button></form>'
)


@contextmanager
def foreign_page(html: str) -> Iterator[str]:
    """The address of a page of another site, which a browser may open."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("Content-Type", "text/html")
            self.end_headers()
            self.wfile.write(html.encode())

        def log_message(self, format: str, *args: object) -> None:  # noqa: A002
            """The test looks at the service instead."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        # Another name, so another site: the service's own is 127.0.0.1.
        yield f"http://localhost:{server.server_port}"
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


@pytest.fixture
def opened(browser: Browser) -> Iterator[Page]:
    context = browser.new_context()
    context.set_default_timeout(40_000)
    yield context.new_page()
    context.close()


@pytest.mark.parametrize("kind", ["text/plain", "multipart/form-data"])
def test_form_of_another_site_starts_no_job(
    opened: Page, site: str, settings: ServiceSettings, kind: str
) -> None:
    html = FORM.format(site=site, path="/v1/jobs", kind=kind)
    with foreign_page(html) as elsewhere:
        opened.goto(elsewhere)
        with opened.expect_response("**/v1/jobs") as answered:
            opened.get_by_role("button").click()

    assert answered.value.status == 403
    assert answered.value.json()["code"] == "forbidden"
    assert not any(settings.runs_dir.glob("*/manifest.json"))


def test_name_that_points_here_shows_no_jobs(opened: Page, site: str) -> None:
    # Browsers take every name below localhost for this machine.
    answered = opened.goto(site.replace("127.0.0.1", "evil.localhost") + "/v1/jobs")

    assert answered is not None
    assert answered.status == 421

"""A browser, and a site to visit: real HTTP, Redis and model server."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

import pytest
from flask import Flask

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.service.api_process import serving
from tests.service.served_model import ServedModel
from tests.worker.world import World
from worker.queue import JobQueue

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page


@pytest.fixture
def world(
    settings: ServiceSettings, redis_server: RedisServer, served: ServedModel
) -> Iterator[World]:
    """Workers beside the site, with the same folders."""
    made = World(settings.runs_dir.parent, redis_server, served)
    yield made
    made.close()


@pytest.fixture
def queue(settings: ServiceSettings) -> JobQueue:
    """Jobs of a site whose Redis is away, unless a test replaces it."""
    return JobQueue(settings.redis_url, settings.runs_dir, settings.input_root)


@pytest.fixture
def site_app(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    queue: JobQueue,
    served: ServedModel,
) -> Flask:
    """The application behind the site; a test may still add to it."""
    return create_app(settings, model_client, queue)


@pytest.fixture
def site(site_app: Flask) -> Iterator[str]:
    """The address of the site."""
    with serving(site_app) as address:
        yield address


@pytest.fixture
def page(browser: Browser, site: str) -> Iterator[Page]:
    """A page that must log no error, break no policy and ask no other host."""
    context = browser.new_context(
        base_url=site, viewport={"width": 1280, "height": 900}
    )
    # On a machine that others keep busy the browser may stand still for many seconds.
    context.set_default_timeout(40_000)
    opened = context.new_page()
    faults: list[str] = []
    watch(opened, site, faults)
    yield opened
    context.close()
    assert faults == []


def watch(page: Page, site: str, faults: list[str]) -> None:
    """Append to *faults* what no page may do."""

    def is_ours(url: str) -> bool:
        return urlsplit(url).scheme in {"blob", "data"} or url.startswith(site)

    page.on("pageerror", lambda error: faults.append(str(error)))
    page.on(
        "console",
        lambda message: (
            faults.append(message.text)
            # The browser's own line about an answer of 400 or more is not an error.
            if message.type in {"error", "warning"}
            and "Failed to load resource" not in message.text
            else None
        ),
    )
    page.on(
        "requestfailed",
        lambda request: (
            faults.append(f"{request.url}: {request.failure}")
            # Aborted: another page was opened meanwhile.
            if "/static/" in request.url and request.failure != "net::ERR_ABORTED"
            else None
        ),
    )
    page.on(
        "request",
        lambda request: None if is_ours(request.url) else faults.append(request.url),
    )

"""The three-fixture kit: ``app``, ``client`` and the ``served`` model behind them."""

from __future__ import annotations

import io
import os
import shutil
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.datastructures import FileStorage
from werkzeug.test import TestResponse, encode_multipart

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from service.telemetry.hooks import Telemetry
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.processes import free_port
from tests.service.served_model import HeldModel, ServedModel
from worker.queue import JobLimits, JobQueue

if TYPE_CHECKING:
    from playwright.sync_api import Browser

SMALL_LIMITS = JobLimits(max_unpacked_bytes=4_000_000)

QUIET = (
    "--no-sandbox",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--no-first-run",
)


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """Headless Chromium: a desk without one skips, CI fails."""
    binary = shutil.which("chromium") or shutil.which("chromium-browser")
    try:
        from playwright.sync_api import sync_playwright
    except ImportError:
        _missing("playwright: pip install playwright")
    if binary is None:
        _missing("chromium: apt-get install chromium")
    with sync_playwright() as playwright:
        launched = playwright.chromium.launch(executable_path=binary, args=[*QUIET])
        yield launched
        launched.close()


def _missing(what: str) -> None:
    if os.environ.get("CI") == "true":
        pytest.fail(f"no {what}")
    pytest.skip(f"no {what}")


@pytest.fixture
def served() -> Iterator[ServedModel]:
    with ServedModel() as server:
        yield server


@pytest.fixture
def held() -> Iterator[HeldModel]:
    with HeldModel() as model:
        yield model


@pytest.fixture
def settings(served: ServedModel, tmp_path: Path) -> ServiceSettings:
    (tmp_path / "data").mkdir()
    return _settings(served, tmp_path, f"redis://127.0.0.1:{free_port()}/0")


def _settings(served: ServedModel, folder: Path, redis_url: str) -> ServiceSettings:
    return ServiceSettings(
        model_server=served.target,
        model_names=("pets",),
        redis_url=redis_url,
        models_dir=folder / "models",
        runs_dir=folder / "runs",
        input_root=folder / "data",
        max_request_bytes=1024 * 1024,
        max_upload_bytes=1_500_000,
    )


@pytest.fixture
def model_client(settings: ServiceSettings) -> Iterator[ModelServerClient]:
    with ModelServerClient(settings.model_server) as client:
        yield client


@pytest.fixture
def app(settings: ServiceSettings, model_client: ModelServerClient) -> Flask:
    """The API while Redis is away."""
    return app_of(settings, model_client)


@pytest.fixture
def client(app: Flask) -> FlaskClient:
    return app.test_client()


@pytest.fixture
def jobs_client(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    redis_server: RedisServer,
) -> FlaskClient:
    """A client of the API while Redis is there."""
    app = app_of(settings, model_client, redis_server.url, limits=SMALL_LIMITS)
    return app.test_client()


@pytest.fixture(scope="module")
def shared_model() -> Iterator[ServedModel]:
    """The model behind `shared_client`."""
    with ServedModel() as server:
        yield server


@pytest.fixture
def failing_model(shared_model: ServedModel) -> Iterator[ServedModel]:
    """The same, for a test that lets it fail; it works again afterwards."""
    yield shared_model
    shared_model.failure = None


@pytest.fixture(scope="module")
def shared_settings(
    tmp_path_factory: pytest.TempPathFactory, shared_model: ServedModel
) -> Iterator[ServiceSettings]:
    """Those of `shared_client`: a Redis, a folder "test" of three photos and a list."""
    folder = tmp_path_factory.mktemp("shared")
    write_folder(folder / "data" / "test", 3)
    (folder / "data" / "list.csv").write_bytes(b"image,id\n2.png,b\n1.png,a\n")
    redis = RedisServer(folder)
    redis.start()
    yield _settings(shared_model, folder, redis.url)
    redis.kill()


@pytest.fixture(scope="module")
def shared_client(shared_settings: ServiceSettings) -> Iterator[FlaskClient]:
    """A client that a module's tests share, for requests that change nothing."""
    settings = shared_settings
    with ModelServerClient(settings.model_server) as model_client:
        yield app_of(settings, model_client, limits=SMALL_LIMITS).test_client()


def app_of(
    settings: ServiceSettings,
    client: ModelServerClient,
    redis_url: str = "",
    *,
    limits: JobLimits | None = None,
    telemetry: Telemetry | None = None,
) -> Flask:
    """The API of *settings*, with the Redis at *redis_url* if one is given."""
    queue = JobQueue(
        redis_url or settings.redis_url,
        settings.runs_dir,
        settings.inputs,
        limits=limits or JobLimits(),
    )
    return create_app(settings, client, queue, telemetry)


def check_no_job(client: FlaskClient, settings: ServiceSettings) -> None:
    """No job was queued, and nothing of an upload is left."""
    assert client.get("/v1/jobs").get_json()["jobs"] == []
    assert not [*settings.runs_dir.glob("*")]


def post_images(
    client: FlaskClient, images: Sequence[bytes], query: str = "", **options: Any
) -> TestResponse:
    """POST *images* as 0.png, 1.png and so on, in the multipart field."""
    files = [
        FileStorage(io.BytesIO(image), f"{number}.png")
        for number, image in enumerate(images)
    ]
    # The test client itself would spool a large form and forget to close the file.
    boundary, body = encode_multipart({"image": files})
    options["content_type"] = f"multipart/form-data; boundary={boundary}"
    return client.post(f"/v1/predict{query}", data=body, **options)


def post_image(
    client: FlaskClient,
    image: bytes,
    query: str = "",
    path: str = "/v1/predict",
    **options: Any,
) -> TestResponse:
    """POST one *image* as the raw body."""
    options.setdefault("content_type", "image/png")
    return client.post(f"{path}{query}", data=image, **options)

"""An API that a module's tests share, for requests that start no job."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.service.served_model import ServedModel
from worker.queue import JobLimits, JobQueue


@dataclass(frozen=True)
class SharedApi:
    client: FlaskClient
    settings: ServiceSettings

    def check_empty(self) -> None:
        """No job was queued, and nothing of an upload is left."""
        assert self.client.get("/v1/jobs").get_json()["jobs"] == []
        assert not [*self.settings.runs_dir.glob("*")]


@pytest.fixture(scope="module")
def shared_api(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SharedApi]:
    """With a Redis, a folder "test" of three photos and small limits."""
    folder = tmp_path_factory.mktemp("shared")
    write_folder(folder / "data" / "test", 3)
    (folder / "data" / "list.csv").write_bytes(b"image,id\n2.png,b\n1.png,a\n")
    redis = RedisServer(folder)
    redis.start()
    with ServedModel() as served, ModelServerClient(served.target) as model_client:
        settings = ServiceSettings(
            model_server=served.target,
            model_names=("pets",),
            models_dir=folder / "models",
            runs_dir=folder / "runs",
            input_root=folder / "data",
            max_request_bytes=1024 * 1024,
            max_upload_bytes=1_500_000,
        )
        limits = JobLimits(max_unpacked_bytes=4_000_000)
        inputs = settings.input_root
        queue = JobQueue(redis.url, settings.runs_dir, inputs, limits=limits)
        client = create_app(settings, model_client, queue).test_client()
        yield SharedApi(client, settings)
    redis.kill()

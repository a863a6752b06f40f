"""The API in front of a world's queue and model server."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.app import create_app
from service.settings import ServiceSettings
from tests.fake_model_server import CARD
from tests.worker.world import World


@contextmanager
def api_of(world: World) -> Iterator[FlaskClient]:
    """A client of the API, until the block ends."""
    settings = ServiceSettings(
        model_server=world.model_server.target,
        model_names=(CARD.name,),
        redis_url=world.redis.url,
        runs_dir=world.runs_dir,
        input_root=world.input_root,
    )
    with ModelServerClient(settings.model_server) as client:
        yield create_app(settings, client, world.queue).test_client()

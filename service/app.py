"""Puts the Flask application together; its collaborators are passed in."""

from __future__ import annotations

from typing import Final

from flask import Flask
from flask.json.provider import DefaultJSONProvider

from models.wire.client import ModelServerClient
from service.admission import Admission
from service.catalog import Catalog
from service.decoding import Decoder
from service.headers import register_headers
from service.health import HealthViews
from service.jobs import JobViews
from service.models import ModelViews
from service.names import ModelNames
from service.predictions import PredictionViews
from service.predictor import Predictor
from service.problems import register_problems
from service.settings import ServiceSettings
from service.uploads import UploadRequest
from worker.queue import JobQueue

_SPARE_PARTS: Final = 16
"""Form parts beyond the images: enough to say which field is wrong."""


class _OrderedJSON(DefaultJSONProvider):
    # Labels stay in the card's order.
    sort_keys = False


def create_app(
    settings: ServiceSettings, client: ModelServerClient, queue: JobQueue
) -> Flask:
    """The API in front of one model server and one queue; it owns neither.

    Raises:
        InvalidRequestError: the model configuration file cannot be read.
    """
    names = ModelNames(settings.model_names, settings.model_config_file)
    catalog = Catalog(client, names, settings.default_model)
    predictor = Predictor(client, catalog, Decoder())
    admission = Admission(settings.max_in_flight)
    app = _flask(settings)
    register_headers(app)
    register_problems(app)
    for views in (
        PredictionViews(settings, predictor, admission),
        ModelViews(settings, catalog),
        JobViews(settings, catalog, queue),
        HealthViews(catalog, queue),
    ):
        app.register_blueprint(views.blueprint())
    return app


def _flask(settings: ServiceSettings) -> Flask:
    app = Flask(__name__, static_folder=None)
    app.request_class = UploadRequest
    app.json = _OrderedJSON(app)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_request_bytes,
        # Twice the images: one too many should be told from a flood of parts.
        MAX_FORM_PARTS=2 * settings.max_images + _SPARE_PARTS,
    )
    return app

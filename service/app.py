"""Puts the Flask application together; its collaborators are passed in."""

from __future__ import annotations

from functools import partial
from typing import Final, Protocol

from flask import Flask
from flask_smorest import Blueprint

from models.images.sandbox import DecodeLimits, DecodeSandbox
from models.wire.client import ModelServerClient
from service.bare_app import bare_app
from service.compatible.classifier import Classifier
from service.compatible.open_inference import OpenInferenceViews
from service.compatible.tensorflow_serving import TensorFlowServingViews
from service.content_encoding import register_content_encoding
from service.documents.document import open_document
from service.documents.views import DocumentViews
from service.gate import Gate, register_gate
from service.headers import register_headers
from service.health import HealthViews
from service.jobs.archive_upload import ArchiveUploads
from service.jobs.score_views import ScoreViews
from service.jobs.views import JobViews
from service.observation.hooks import register_observation
from service.observation.live_spread import live_spread
from service.observation.metrics.metrics import Exposition
from service.observation.observation import Observation
from service.observation.views import ObservationViews
from service.pages.assets import STATIC, Assets
from service.pages.problem_pages import register_problem_pages
from service.pages.reports import Reports
from service.pages.views import PageViews
from service.predictions.admission import Admission
from service.predictions.batching import Batcher
from service.predictions.decoding import Decoder
from service.predictions.explainer import Explainer
from service.predictions.explanations import ExplanationViews
from service.predictions.lanes import Lanes
from service.predictions.predictor import Predictor
from service.predictions.reception import Reception
from service.predictions.traffic_notice import TrafficNotice
from service.predictions.views import PredictionViews
from service.problems import register_problems
from service.protection.cors import Cors
from service.protection.setup import protect
from service.rollout.gateway import Gateway
from service.rollout.ledger import Ledger
from service.rollout.mirror import Mirror
from service.rollout.pinned import PinnedModelServer
from service.rollout.rollouts import Rollouts
from service.rollout.views import RolloutViews
from service.served.catalog import Catalog
from service.served.names import ModelNames
from service.served.reports import REPORT_POLICY, find_report
from service.served.views import ModelViews
from service.settings import ServiceSettings
from service.turn_away import register_turn_away
from worker.queue import JobQueue, SharedCounts

BODIES_IN_MEMORY: Final = 2
"""Bodies of the largest size that a process has in memory at a time, or more smaller."""

NICENESS: Final = 10
"""Of the processes that decode heavy images: all others go before them."""


class _Views(Protocol):
    def blueprint(self) -> Blueprint: ...


def create_app(
    settings: ServiceSettings,
    client: ModelServerClient,
    queue: JobQueue,
    observation: Observation | None = None,
) -> Flask:
    """The API in front of the model servers and one queue; it owns neither.

    *observation* watches its requests, and *client* if that was made with it.

    Raises:
        InvalidRequestError: the model configuration or rollouts.json cannot be read.
    """
    names = ModelNames(settings.model_names, settings.model_config_file)
    rollouts = Rollouts(settings.models_dir)
    server = PinnedModelServer(client, rollouts)
    catalog = Catalog(server, names, settings.default_model)
    observation = observation or Observation()
    metrics = observation.metrics
    admission = Admission(settings.max_in_flight, metrics.inference.admitted)
    notice = TrafficNotice(queue.note_online_traffic, admission.is_busy)
    reception = Reception(admission, settings.request_timeout_seconds, notice.note)
    app = bare_app(settings)
    document = open_document(app)
    gate = _register_hooks(app, settings, observation, admission)
    sandbox = DecodeSandbox()
    heavy = DecodeSandbox(DecodeLimits(niceness=NICENESS))
    decoder = Decoder(settings.web_workers, sandbox, heavy)
    predictor = Predictor(Batcher(server, Lanes()), catalog, decoder)
    gateway = _gateway(server, predictor, queue.counts)
    classifier = Classifier(gateway, reception, settings.max_images)
    instruments = metrics.instruments()
    documented: tuple[_Views, ...] = (
        PredictionViews(gateway, reception, settings.max_images),
        ExplanationViews(Explainer(server, catalog, decoder), reception),
        TensorFlowServingViews(classifier),
        OpenInferenceViews(classifier, instruments),
        ModelViews(settings, catalog),
        RolloutViews(catalog, rollouts, queue.counts),
        *_job_views(settings, catalog, queue, sandbox),
        HealthViews(catalog, queue),
        ObservationViews(settings, Exposition(metrics, catalog, queue), catalog),
    )
    for views in documented:
        document.register_blueprint(views.blueprint())
    reports = Reports(partial(find_report, settings.models_dir), REPORT_POLICY)
    spread = partial(live_spread, instruments)
    for undocumented in (
        DocumentViews(document.spec.to_dict),
        Assets.read(STATIC),
        PageViews(settings, catalog, queue, reports, spread, rollouts),
    ):
        app.register_blueprint(undocumented.blueprint())
    cors = Cors.of(settings.protection.cors_origins)
    register_turn_away(app, gate, metrics.traffic, cors)
    return app


def _register_hooks(
    app: Flask,
    settings: ServiceSettings,
    observation: Observation,
    admission: Admission,
) -> Gate:
    # The first: what the others refuse is counted and logged as well.
    register_observation(app, observation)
    gate = register_gate(
        app,
        settings.web_threads,
        admission.queue_seconds,
        BODIES_IN_MEMORY * settings.max_request_bytes,
    )
    register_content_encoding(app)
    register_headers(app)
    register_problems(app)
    register_problem_pages(app)
    protect(app, settings.protection, settings.host, settings.redis_url)
    return gate


def _gateway(
    server: PinnedModelServer, predictor: Predictor, counts: SharedCounts
) -> Gateway:
    ledger = Ledger(counts)
    return Gateway(predictor, server.rollouts, ledger, Mirror(predictor, ledger))


def _job_views(
    settings: ServiceSettings,
    catalog: Catalog,
    queue: JobQueue,
    sandbox: DecodeSandbox,
) -> tuple[_Views, ...]:
    uploads = ArchiveUploads(settings.runs_dir, settings.max_upload_bytes)
    return JobViews(settings, catalog, queue, uploads), ScoreViews(queue, sandbox)

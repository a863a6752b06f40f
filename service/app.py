"""The Flask application: `create` makes it from the environment, `create_app` from its parts.

gunicorn calls `create` in each worker, after the fork, because a gRPC channel does not
survive one.
"""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Callable
from typing import Any, Final, Protocol

from flask import Blueprint, Flask
from flask.json.provider import DefaultJSONProvider

from models.images.files import limit_pixels
from models.images.sandbox import DecodeLimits, DecodeSandbox
from models.logs import LogSettings, set_up_logging
from models.wire.client import ModelServerClient
from service.auth.guard import protect
from service.auth.origins import Cors
from service.http.content_encoding import register_content_encoding
from service.http.headers import register_headers
from service.http.multipart import UploadRequest
from service.http.parameters import register_converters
from service.http.problems import register_problems
from service.jobs.submit import ArchiveUploads, JobSubmitter
from service.jobs.views import JobViews
from service.openapi.document import document_routes
from service.pages.views import STATIC, Assets, PageViews, register_problem_pages
from service.predict.admission import Admission, Reception, TrafficNotice
from service.predict.batching import Batcher, BatchQueues
from service.predict.catalog import Catalog, ModelNames, ModelViews
from service.predict.decoding import Decoder
from service.predict.explain import Explainer, ExplanationViews
from service.predict.gpu import GpuModelServer
from service.predict.open_inference import OpenInferenceViews
from service.predict.predictor import Predictor
from service.predict.tensorflow_serving import TensorFlowServingViews
from service.predict.views import ImageRequests, PredictionViews
from service.rollout.comparison import RolloutViews
from service.rollout.counters import Counters
from service.rollout.gateway import Gateway, PinnedModelServer, Rollouts, Shadow
from service.server.gunicorn_worker import register_request_body
from service.server.load_shedding import register_load_shedding
from service.settings import GPU, ServiceSettings
from service.telemetry.collectors import Exposition
from service.telemetry.hooks import RequestIds, Telemetry
from service.telemetry.metrics import Metrics
from service.telemetry.multiprocess import metrics_folder
from service.telemetry.tracing import TracingSettings, start_spans
from service.telemetry.views import HealthViews, TelemetryViews
from worker.queue import JobQueue, SharedCounts

SWITCH_SECONDS: Final = 0.001
"""Longest time that a busy thread holds the interpreter's lock, a fifth of Python's default:
the thread that accepts connections has to run while forty others work."""

BODIES_IN_MEMORY: Final = 2
"""Bodies of MAX_REQUEST_BYTES that a process has in memory at a time, or more smaller ones."""

NICENESS: Final = 10
"""Of the processes that decode heavy images: every other process gets the CPU first."""

_SPARE_PARTS: Final = 16
"""Form parts accepted beside the images: enough to say which field is wrong."""


def create() -> Flask:
    """The application with settings from the environment; it lives as long as the process.

    Raises:
        InvalidRequestError: a variable cannot be used; the message names it.
    """
    _set_up_logging()
    sys.setswitchinterval(SWITCH_SECONDS)
    settings = ServiceSettings.from_env(os.environ)
    limit_pixels(settings.max_pixels)
    tracing = TracingSettings.from_env(os.environ)
    metrics = Metrics(metrics_folder(os.environ))
    telemetry = Telemetry(metrics, start_spans(tracing))
    client = ModelServerClient(
        settings.model_server,
        timeout_seconds=settings.request_timeout_seconds,
        observer=telemetry,
    )
    queue = JobQueue(
        settings.redis_url,
        settings.runs_dir,
        settings.inputs,
        limits=settings.job_limits,
    )
    return create_app(settings, client, queue, telemetry)


def create_app(
    settings: ServiceSettings,
    client: ModelServerClient,
    queue: JobQueue,
    telemetry: Telemetry | None = None,
) -> Flask:
    """The API in front of the model server and one job queue; the caller owns both.

    *telemetry* observes the requests; calls of *client* too, if *client* was made with it.

    Raises:
        InvalidRequestError: the model configuration or rollouts.json cannot be read.
    """
    names = ModelNames(settings.model_names, settings.model_config_file)
    rollouts = Rollouts(settings.models_dir)
    usable = GpuModelServer(client) if settings.model_server_device == GPU else client
    server = PinnedModelServer(usable, rollouts)
    catalog = Catalog(server, names, settings.default_model)
    telemetry = telemetry or Telemetry()
    metrics = telemetry.metrics
    admission = Admission(settings.max_in_flight, metrics.inference.admitted)
    notice = TrafficNotice(queue.note_online_traffic, admission.is_busy)
    reception = Reception(admission, settings.request_timeout_seconds, notice.note)
    app = bare_app(settings)
    _register_hooks(app, settings, telemetry, admission)
    sandbox = DecodeSandbox()
    heavy = DecodeSandbox(DecodeLimits(niceness=NICENESS))
    decoder = Decoder(settings.web_workers, sandbox, heavy)
    predictor = Predictor(Batcher(server, BatchQueues()), catalog, decoder)
    gateway = _gateway(server, predictor, queue.counts)
    requests = ImageRequests(gateway, reception, settings.max_images)
    views: tuple[_Views, ...] = (
        PredictionViews(requests),
        ExplanationViews(Explainer(server, catalog, decoder), reception),
        TensorFlowServingViews(requests),
        OpenInferenceViews(requests, metrics.answers_by_version),
        ModelViews(catalog, settings.request_timeout_seconds),
        RolloutViews(catalog, rollouts, queue.counts),
        JobViews(_submitter(settings, catalog, queue), queue, sandbox),
        HealthViews(catalog, queue),
        TelemetryViews(settings, Exposition(metrics, catalog, queue), catalog),
        Assets.read(STATIC),
        PageViews(settings, catalog, queue, metrics.answer_spread, rollouts),
    )
    for each in views:
        app.register_blueprint(each.blueprint())
    app.register_blueprint(document_routes())
    return app


def bare_app(settings: ServiceSettings) -> Flask:
    """A Flask application without views and hooks, with the body limits of *settings*."""
    app = _ThreadedFlask(__name__, static_folder=None)
    app.request_class = UploadRequest
    app.json = _OrderedJSON(app)
    register_converters(app)
    app.config.update(
        MAX_CONTENT_LENGTH=settings.max_request_bytes,
        # Twice the images: a request with one too many gets an error that says so.
        MAX_FORM_PARTS=2 * settings.max_images + _SPARE_PARTS,
    )
    return app


def _set_up_logging() -> None:
    set_up_logging(LogSettings.from_env(os.environ))
    for handler in logging.getLogger().handlers:
        handler.addFilter(RequestIds())


class _Views(Protocol):
    def blueprint(self) -> Blueprint: ...


def _register_hooks(
    app: Flask,
    settings: ServiceSettings,
    telemetry: Telemetry,
    admission: Admission,
) -> None:
    # First, so that requests which later hooks refuse are counted and logged too.
    telemetry.register(app)
    cors = Cors.of(settings.auth.cors_origins)
    register_load_shedding(
        app,
        settings.web_threads,
        BODIES_IN_MEMORY * settings.max_request_bytes,
        admission.queue_seconds,
        telemetry.metrics.traffic,
        cors,
    )
    register_content_encoding(app)
    register_request_body(app)
    register_headers(app)
    register_problems(app)
    register_problem_pages(app)
    protect(app, settings.auth, settings.host, settings.redis_url)


def _gateway(
    server: PinnedModelServer, predictor: Predictor, counts: SharedCounts
) -> Gateway:
    counters = Counters(counts)
    return Gateway(predictor, server.rollouts, counters, Shadow(predictor, counters))


def _submitter(
    settings: ServiceSettings, catalog: Catalog, queue: JobQueue
) -> JobSubmitter:
    uploads = ArchiveUploads(settings.runs_dir, settings.max_upload_bytes)
    return JobSubmitter(catalog, queue, uploads, settings.request_timeout_seconds)


class _ThreadedFlask(Flask):
    def ensure_sync(self, func: Callable[..., Any]) -> Callable[..., Any]:
        # No view or hook here is a coroutine; checking each costs 15 us a request.
        return func


class _OrderedJSON(DefaultJSONProvider):
    # Labels stay in the card's order.
    sort_keys = False

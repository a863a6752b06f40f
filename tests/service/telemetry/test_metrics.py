"""GET /metrics of one process: every request counted once, under a bounded name."""

from __future__ import annotations

from dataclasses import replace

import grpc
import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.predict.catalog import Catalog
from service.settings import ServiceSettings
from service.telemetry.collectors import ModelMetrics
from service.telemetry.hooks import Telemetry
from tests.pictures import grey
from tests.processes import free_port
from tests.service.conftest import app_of, post_image, post_images
from tests.service.served_model import ServedModel
from tests.service.telemetry.scrape import scrape

PREDICT = {"method": "POST", "route": "/v1/predict"}
LABELS = {
    "http_requests_total": {"method", "route", "status"},
    "http_request_duration_seconds_bucket": {"method", "route", "status_class", "le"},
    "http_requests_in_progress": set(),
    "http_requests_refused_total": {"route"},
    "inference_requests_total": {"model", "version", "outcome"},
    "inference_images_total": {"model", "version"},
    "inference_duration_seconds_bucket": {"model", "le"},
    "inference_queue_seconds_bucket": {"model", "le"},
    "preprocess_seconds_bucket": {"model", "le"},
    "postprocess_seconds_bucket": {"model", "le"},
    "inference_batch_size_bucket": {"model", "le"},
    "inference_queue_depth": {"model"},
    "inference_scores_total": {"model", "version", "bin"},
    "inference_labels_total": {"model", "version", "label"},
    "inference_rejected_total": {"model", "reason"},
    "upstream_grpc_handled_total": {"method", "code"},
    "upstream_grpc_duration_seconds_bucket": {"method", "le"},
    "model_state": {"model", "version"},
    "model_server_up": set(),
    "model_versions_available": {"model"},
    "model_validation_scores": {"model", "version", "bin"},
    "model_validation_labels": {"model", "version", "label"},
    "jobs_total": {"queue", "state"},
    "jobs_queued": {"queue"},
    "jobs_present": {"queue", "state"},
    "job_recent_images": {"queue", "outcome"},
    "job_longest_rest_seconds": {"queue"},
    "job_shortest_rest_seconds": {"queue"},
    "job_disk_free_bytes": set(),
    "job_disk_size_bytes": set(),
    "job_disk_needed_bytes": set(),
    "redis_up": set(),
    "redis_takes_work": set(),
    "job_oldest_queued_seconds": {"queue"},
    "process_resident_memory_bytes": set(),
    "build_info": {"version"},
}


def test_metrics_have_their_names_and_labels(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.failure = grpc.StatusCode.RESOURCE_EXHAUSTED
    post_image(client, grey(9))
    served.failure = None

    samples = scrape(client).samples

    seen = {each.name: set(each.labels) for each in samples}
    assert {name: seen.get(name) for name in LABELS} == LABELS


def test_http_buckets_are_opentelemetrys(client: FlaskClient) -> None:
    client.get("/livez")

    bounds = {
        each.labels["le"]
        for each in scrape(client).samples
        if each.name == "http_request_duration_seconds_bucket"
    }
    assert bounds == {
        *("0.005", "0.01", "0.025", "0.05", "0.075", "0.1", "0.25", "0.5"),
        *("0.75", "1.0", "2.5", "5.0", "7.5", "10.0", "+Inf"),
    }


def test_requests_images_and_calls_are_counted(client: FlaskClient) -> None:
    for _ in range(3):
        post_images(client, [grey(1), b"no image", grey(2)])

    seen = scrape(client)
    assert seen.value("http_requests_total", status="200", **PREDICT) == 3
    assert seen.value("http_request_duration_seconds_count", **PREDICT) == 3
    assert seen.value("inference_requests_total", outcome="ok", version="1") == 3
    assert seen.value("inference_images_total", model="pets", version="1") == 6
    assert seen.value("inference_batch_size_sum", model="pets") == 6
    assert seen.value("preprocess_seconds_count", model="pets") == 3
    # Three batches, and the card before the first.
    assert seen.value("upstream_grpc_handled_total", method="Predict", code="OK") == 4
    assert seen.value("http_requests_in_progress") == 1
    assert seen.value("inference_queue_depth") == 0


OUTCOMES = {
    grpc.StatusCode.DEADLINE_EXCEEDED: "timeout",
    grpc.StatusCode.RESOURCE_EXHAUSTED: "rejected",
    grpc.StatusCode.UNAVAILABLE: "upstream",
    grpc.StatusCode.INTERNAL: "upstream",
}


@pytest.mark.parametrize("failure", OUTCOMES, ids=lambda code: code.name)
def test_failure_of_the_model_server_has_its_outcome(
    client: FlaskClient, served: ServedModel, failure: grpc.StatusCode
) -> None:
    served.failure = failure
    post_image(client, grey(9))

    seen = scrape(client)
    outcome = OUTCOMES[failure]
    calls = seen.value("upstream_grpc_handled_total", code=failure.name)
    assert seen.value("inference_requests_total", outcome=outcome) == 1
    assert seen.value("inference_requests_total") == 1
    assert calls >= 1


def test_bad_image_is_invalid(client: FlaskClient) -> None:
    post_image(client, b"no image")

    seen = scrape(client)
    assert seen.value("inference_requests_total", model="pets", outcome="invalid") == 1
    assert seen.value("inference_images_total") == 0


def test_full_service_differs_from_a_full_model_server(
    settings: ServiceSettings, model_client: ModelServerClient, served: ServedModel
) -> None:
    small = replace(settings, max_in_flight=1)
    client = app_of(small, model_client, telemetry=Telemetry()).test_client()
    post_images(client, [grey(1), grey(2)])
    post_image(client, grey(1))
    served.failure = grpc.StatusCode.RESOURCE_EXHAUSTED
    post_image(client, grey(1))

    seen = scrape(client)
    assert seen.value("inference_rejected_total", reason="api") == 1
    assert seen.value("inference_rejected_total", reason="model_server") == 1
    assert seen.value("inference_requests_total", outcome="rejected") == 2
    assert seen.value("http_requests_refused_total", route="/v1/predict") == 2


def test_what_clients_make_up_adds_no_series(client: FlaskClient) -> None:
    client.get("/v1/nothing")
    client.open("/", method="BREW")
    post_image(client, grey(9), "?version=77")
    post_image(client, grey(9), "?model=nobody")
    series = len(scrape(client).samples)

    for number in range(50):
        client.get(f"/v1/nothing/{number}?a={number}")
        client.open("/", method=f"BREW{number}")
        post_image(client, grey(9), f"?version={1000 + number}")
        post_image(client, grey(9), f"?model=nobody{number}")

    seen = scrape(client)
    unmatched = seen.value("http_requests_total", route="unmatched", method="GET")
    assert unmatched == 51
    # The first scrape could not count itself.
    routes = [each for each in seen.samples if each.labels.get("route") != "/metrics"]
    assert len(routes) == series


def test_metrics_answer_while_the_neighbours_are_away(
    client: FlaskClient, served: ServedModel
) -> None:
    served.stop()

    seen = scrape(client)

    assert "model_state" not in seen.names
    assert seen.value("jobs_queued") == 0
    assert seen.value("build_info") == 1


def test_state_of_every_version_is_shown(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.loading = (3,), (4,)

    seen = scrape(client)

    assert seen.value("model_state", model="pets", version="3") == 30
    assert seen.value("model_state", model="pets", version="4") == 20


def test_openmetrics_is_spoken_to_who_asks(client: FlaskClient) -> None:
    accept = {"Accept": "application/openmetrics-text; version=1.0.0"}

    response = client.get("/metrics", headers=accept)

    assert response.content_type.startswith("application/openmetrics-text")
    assert response.text.endswith("# EOF\n")


SCORES = "inference_scores_total"


def test_answers_are_counted_by_score_and_label(client: FlaskClient) -> None:
    post_images(client, [grey(0), grey(0), b"no image", grey(255)])

    seen = scrape(client)
    assert seen.value(SCORES, model="pets", version="1", bin="0") == 2
    assert seen.value(SCORES, model="pets", version="1", bin="0.9") == 1
    assert seen.value(SCORES) == 3
    assert seen.value("inference_labels_total", label="cat") == 2
    assert len([each for each in seen.samples if each.name == SCORES]) == 10


def test_what_was_not_answered_is_not_counted(client: FlaskClient) -> None:
    post_image(client, b"no image")

    assert SCORES not in scrape(client).names


def test_validation_photos_of_every_card_are_shown(client: FlaskClient) -> None:
    seen = scrape(client)

    assert seen.value("model_validation_scores", model="pets", bin="0.9") == 40
    assert seen.value("model_validation_labels", model="pets", label="dog") == 50


def test_cards_are_asked_for_once(client: FlaskClient, served: ServedModel) -> None:
    served.card = replace(served.card, validation_spread=None)

    scrape(client)
    scrape(client)

    assert served.calls.count("describe") == 1
    assert "model_validation_scores" not in scrape(client).names


@pytest.mark.parametrize("name", ["model_server_up", "model_versions_available"])
def test_nothing_is_available_while_the_model_server_is_away(name: str) -> None:
    with ModelServerClient(f"127.0.0.1:{free_port()}") as client:
        catalog = Catalog(client, lambda: ("pets",))
        families = {each.name: each for each in ModelMetrics(catalog).collect()}

    assert [sample.value for sample in families[name].samples] == [0]

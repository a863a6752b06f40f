"""Predictions while versions change, and while the model server or the clock fails."""

from __future__ import annotations

import base64
import logging
import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import grpc
import numpy as np
import pytest
from flask import Flask
from flask.testing import FlaskClient
from werkzeug.test import TestResponse

from models.errors import MixedBatchError, ModelTimeoutError
from models.images.preprocessing import Preprocessing
from models.wire.client import CALL_ATTEMPTS, ModelServerClient
from models.wire.messages import ModelRef
from service.http.budget import Budget
from service.predict.decoding import Decoder
from service.settings import ServiceSettings
from tests.fake_model_server import CARD, DIFFERENT_SHAPES, QUEUE_FULL, Merging
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import app_of, post_image, post_images
from tests.service.served_model import ServedModel

MIXED = (grpc.StatusCode.FAILED_PRECONDITION, DIFFERENT_SHAPES)
B64 = base64.b64encode(grey(51)).decode()
INPUT = {"name": "images", "datatype": "BYTES", "shape": [1], "data": [B64]}


def ask(client: FlaskClient, path: str) -> TestResponse:
    """POST an image of brightness 0.2 to *path*, in its protocol."""
    if path.endswith("/infer"):
        return client.post(path, json={"inputs": [INPUT]})
    if path.endswith(":predict"):
        return client.post(path, json={"instances": [{"b64": B64}]})
    return post_image(client, grey(51), path=path)


every_path = pytest.mark.parametrize(
    "path",
    ["/v1/predict", "/v1/explain", "/v2/models/pets/infer", "/v1/models/pets:predict"],
)


def test_new_version_answers_with_its_own_card(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.versions = (1, 2)
    served.calls.clear()

    versions = [post_image(client, grey(9)).get_json()["version"] for _ in range(3)]

    assert versions == [2, 2, 2]
    assert served.calls.count("describe") == 1
    assert len(served.calls) == 4


def test_rollback_needs_no_new_card(client: FlaskClient, served: ServedModel) -> None:
    for versions in [(1,), (1, 2)]:
        served.versions = versions
        post_image(client, grey(9))
    served.versions = (1,)
    served.calls.clear()

    assert post_image(client, grey(9)).get_json()["version"] == 1
    assert served.calls == ["serving_default"]


@pytest.mark.parametrize("takes_any_size", [False, True])
@pytest.mark.parametrize("count", [1, 40])
def test_new_image_size_is_learnt(
    client: FlaskClient, served: ServedModel, count: int, takes_any_size: bool
) -> None:
    served.takes_any_size = takes_any_size
    post_image(client, grey(9))
    served.versions, served.sizes = (1, 2), {2: (48, 64)}

    answer = post_images(client, [grey(51)] * count).get_json()

    assert answer["version"] == 2
    assert {each["raw"]["dog"] for each in answer["predictions"]} == {0.2}


def test_answer_for_pixels_of_another_preprocessing_is_not_given(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.versions, served.preprocessings = (1, 2), {2: Preprocessing.WHOLE}
    served.named.clear()

    answers = [post_image(client, grey(51)).get_json() for _ in range(2)]

    assert [each["version"] for each in answers] == [2, 2]
    assert served.named == [None, 2, None]


def test_pinned_version_keeps_its_image_size(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.sizes = (1, 2), {2: (48, 64)}
    post_image(client, grey(9))

    assert post_image(client, grey(9), "?version=1").get_json()["version"] == 1
    assert post_image(client, grey(9)).get_json()["version"] == 2


@every_path
@pytest.mark.parametrize("failures", [1, 3])
def test_batch_that_a_neighbour_spoiled_is_asked_again_by_number(
    client: FlaskClient, served: ServedModel, path: str, failures: int
) -> None:
    ask(client, path)
    served.versions, served.sizes = (1, 2), {2: (48, 64)}
    served.refusals.extend([MIXED] * failures)
    served.named.clear()

    response = ask(client, path)

    assert response.status_code == 200
    assert response.headers["X-Model-Version"] == "2"
    assert "0.2" in response.text
    assert served.named == [None] + [2] * failures


def test_version_asked_for_stays_the_one_that_is_asked_again(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.sizes = (1, 2), {2: (48, 64)}
    served.refusals.extend([MIXED] * 2)

    answer = post_image(client, grey(51), "?version=1").get_json()

    assert answer["version"] == 1
    assert served.named == [1, 1, 1]


def test_neighbours_that_never_stop_are_not_now(
    client: FlaskClient, served: ServedModel
) -> None:
    served.refusals.extend([MIXED] * 100)

    response = post_image(client, grey(9))

    assert response.status_code == 503
    assert response.get_json()["code"] == "model_not_ready"
    assert "image size changed" in response.get_json()["detail"]
    assert "Retry-After" in response.headers
    assert len(served.refusals) > 80


def test_repeats_end_with_the_budget(client: FlaskClient, served: ServedModel) -> None:
    served.refusals.extend([MIXED] * 100)

    response = post_image(client, grey(9), headers={"X-Request-Timeout-Ms": "200"})

    assert response.status_code == 504


@every_path
def test_answer_for_pixels_of_the_wrong_size_is_never_handed_out(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    """A network that pools takes any size: the fake one then sees black."""
    served.takes_any_size = True
    ask(client, path)
    served.versions, served.sizes = (1, 2), {2: (48, 64)}

    response = ask(client, path)

    assert response.headers["X-Model-Version"] == "2"
    assert "0.2" in response.text


def test_stale_request_fails_neither_itself_nor_its_neighbour_for_long(
    client: FlaskClient, served: ServedModel
) -> None:
    """Pinned and unpinned requests of a version meet in one batch."""
    post_image(client, grey(51))
    served.versions, served.sizes = (1, 2), {2: (48, 64)}
    served.merging = Merging(requests=2, seconds=0.3)
    right = np.full((1, 48, 64, 3), 51, np.uint8)

    with ModelServerClient(served.target) as other, ThreadPoolExecutor() as pool:
        neighbour = pool.submit(other.predict, right, ModelRef("pets", version=2))
        answer = post_image(client, grey(51)).get_json()

    assert isinstance(neighbour.exception(), MixedBatchError)
    assert answer["version"] == 2
    assert answer["predictions"][0]["raw"]["dog"] == 0.2


def test_unloaded_version_is_not_found(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9), "?version=1")
    served.versions = (2,)

    response = post_image(client, grey(9), "?version=1")

    assert response.status_code == 404
    assert response.get_json()["code"] == "version_not_found"


@every_path
def test_version_unloaded_before_its_card_was_read(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    ask(client, path)
    served.versions = (2,)
    served.after_answer = lambda: setattr(served, "versions", (3,))

    assert ask(client, path).headers["X-Model-Version"] == "3"


@pytest.mark.parametrize("query", ["", "?version=1"])
def test_version_that_is_loading_is_not_now(
    client: FlaskClient, served: ServedModel, query: str
) -> None:
    served.versions, served.loading = (), (1,)

    response = post_image(client, grey(9), query)

    assert response.status_code == 503
    assert response.get_json()["code"] == "model_not_ready"


@pytest.mark.parametrize("takes_any_size", [False, True])
def test_no_request_fails_while_versions_change(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    served: ServedModel,
    takes_any_size: bool,
) -> None:
    """Two API processes learn of a swap at different times, and share batches."""
    served.takes_any_size = takes_any_size
    served.merging = Merging(requests=4, seconds=0.03)
    apps = [app_of(settings, model_client) for _ in range(2)]
    answers: list[tuple[int, float]] = []
    over = threading.Event()

    def load(number: int) -> None:
        client = apps[number % 2].test_client()
        while not over.is_set():
            response = post_image(client, grey(51))
            [answer] = response.get_json().get("predictions", [{"raw": {"dog": -1}}])
            answers.append((response.status_code, answer["raw"]["dog"]))

    def answers_until(count: int) -> None:
        wait_until(lambda: len(answers) >= count, "answers", 30)

    with ThreadPoolExecutor(6) as pool:
        loads = [pool.submit(load, number) for number in range(6)]
        for version in range(2, 8):
            answers_until(len(answers) + 12)
            served.sizes[version] = (16 * version, 16)
            served.versions = (version - 1, version)
        over.set()
        for each in loads:
            each.result()

    assert set(answers) == {(200, 0.2)}
    assert served.merging.mixed > 0


Code = grpc.StatusCode

FAILURES = {
    Code.UNAVAILABLE: (503, "model_not_ready"),
    Code.CANCELLED: (503, "model_not_ready"),
    Code.RESOURCE_EXHAUSTED: (503, "overloaded"),
    Code.DEADLINE_EXCEEDED: (504, "deadline_exceeded"),
    # Our name for the model is known, so the server is only not ready to say so.
    Code.NOT_FOUND: (503, "model_not_ready"),
}


every_failure = pytest.mark.parametrize(
    "failure",
    [code for code in grpc.StatusCode if code.value[0]],
    ids=lambda code: code.name,
)


@every_failure
def test_every_failure_has_its_status(
    shared_client: FlaskClient, failing_model: ServedModel, failure: grpc.StatusCode
) -> None:
    post_image(shared_client, grey(9))
    failing_model.failure = failure

    check_failure(post_image(shared_client, grey(9)), failure)


@every_failure
def test_every_failure_of_the_first_call_has_its_status(
    client: FlaskClient, served: ServedModel, failure: grpc.StatusCode
) -> None:
    served.failure = failure

    check_failure(post_image(client, grey(9)), failure)


def check_failure(response: TestResponse, failure: grpc.StatusCode) -> None:
    status, code = FAILURES.get(failure, (502, "bad_upstream_reply"))
    assert (response.status_code, response.get_json()["code"]) == (status, code)
    assert ("Retry-After" in response.headers) == (status in {503, 504})


def test_full_batching_queue_of_the_model_server_is_overload(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.refusals.extend([(Code.UNAVAILABLE, QUEUE_FULL)] * CALL_ATTEMPTS)

    response = post_image(client, grey(9))

    assert (response.status_code, response.get_json()["code"]) == (503, "overloaded")
    assert "Retry-After" in response.headers
    assert "cannot be reached" not in response.text


def test_dead_model_server_is_unavailable_until_it_is_back(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.stop()

    response = post_image(client, grey(9))
    probe = client.get("/readyz")

    assert response.status_code == 503
    assert probe.status_code == 503
    assert probe.get_json()["parts"]["model_server"]["code"] == "model_not_ready"

    served.start()
    wait_until(lambda: client.get("/readyz").status_code == 200, "the API is ready")
    assert post_image(client, grey(9)).status_code == 200


def test_spent_budget_is_a_timeout(client: FlaskClient, served: ServedModel) -> None:
    post_image(client, grey(9))
    served.delay_seconds = 0.5

    response = post_image(client, grey(9), headers={"X-Request-Timeout-Ms": "1"})

    assert response.status_code == 504
    assert response.get_json()["code"] == "deadline_exceeded"
    assert response.headers["Retry-After"] == "1"


def test_spent_budget_covers_decoding() -> None:
    budget = Budget(0.0)

    with pytest.raises(ModelTimeoutError, match="X-Request-Timeout-Ms"):
        Decoder().decode([grey(9)] * 2, CARD, budget)


def test_unexpected_error_is_bland_and_logged(
    app: Flask, caplog: pytest.LogCaptureFixture
) -> None:
    app.add_url_rule("/broken", view_func=lambda: str(1 // 0))

    with caplog.at_level(logging.ERROR):
        response = app.test_client().get("/broken")

    assert response.status_code == 500
    assert "division" not in response.text
    assert "ZeroDivisionError" in caplog.text
    assert response.get_json()["request_id"] in caplog.text


def test_no_model_known_is_not_ready(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    client = app_of(replace(settings, model_names=()), model_client).test_client()

    assert "this service has no model yet" in client.get("/readyz").text
    assert client.get("/readyz").status_code == 503
    assert post_image(client, grey(9)).status_code == 503
    assert client.get("/v1/models").get_json() == {"default_model": None, "models": []}

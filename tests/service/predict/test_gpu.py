"""A model server on a GPU: int8 versions get no traffic, and the reason is told."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from flask.testing import FlaskClient

from models.errors import ModelUnavailableError, NotFoundError
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from service.predict.gpu import GpuModelServer
from service.settings import GPU, ServiceSettings
from tests.fake_model_server import CARD
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import app_of, post_image
from tests.service.served_model import ServedModel

PIXELS = np.full((1, *CARD.image_size, 3), 90, np.uint8)
REASON = (
    "version 2 of 'pets' is int8, and TensorFlow has no int8 convolutions for GPUs: "
    "kennel export RUN --precision float16, or serve it on CPUs"
)


@pytest.fixture
def settings(settings: ServiceSettings) -> ServiceSettings:
    return replace(settings, model_server_device=GPU)


@pytest.fixture
def gpu(model_client: ModelServerClient) -> GpuModelServer:
    """It looks at the versions before every call."""
    return GpuModelServer(model_client, look_seconds=0)


@pytest.fixture
def served(served: ServedModel) -> ServedModel:
    served.versions, served.precisions = (1, 2), {1: "float16", 2: "int8"}
    return served


@pytest.mark.parametrize("path", ["/v1/predict", "/v1/explain"])
def test_older_version_that_is_fit_answers(
    client: FlaskClient, served: ServedModel, path: str
) -> None:
    answer = post_image(client, grey(90), path=path)

    assert (answer.status_code, answer.get_json()["version"]) == (200, 1)
    assert served.named == [1]


@pytest.mark.parametrize("query", ["?version=2", "?label=canary"])
def test_int8_version_is_refused_before_photos_reach_it(
    client: FlaskClient, served: ServedModel, query: str
) -> None:
    served.version_labels = {"canary": 2}

    answer = post_image(client, grey(90), query)

    problem = answer.get_json()
    assert (answer.status_code, problem["code"]) == (503, "model_not_ready")
    assert problem["detail"] == REASON
    assert served.named == []


def test_fit_version_answers_under_its_number_and_its_label(
    client: FlaskClient, served: ServedModel
) -> None:
    served.version_labels = {"stable": 1}

    for query in ("?version=1", "?label=stable"):
        assert post_image(client, grey(90), query).get_json()["version"] == 1


def test_model_without_another_version_is_not_ready_and_says_why(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (2,)

    answer = post_image(client, grey(90))
    ready = client.get("/readyz")
    [listed] = client.get("/v1/models/pets").get_json()["versions"]

    assert (answer.status_code, answer.get_json()["detail"]) == (503, REASON)
    assert ready.status_code == 503
    assert REASON in ready.get_json()["parts"]["model_server"]["detail"]
    assert listed == {"version": 2, "state": "END", "problem": REASON}
    assert served.named == []


def test_refusal_is_logged_once(
    client: FlaskClient, caplog: pytest.LogCaptureFixture
) -> None:
    for _ in range(3):
        client.get("/v1/models")

    assert caplog.text.count(REASON) == 1


def test_int8_version_that_is_loaded_meanwhile_gets_no_photo(
    gpu: GpuModelServer, served: ServedModel
) -> None:
    served.versions = (1,)
    before = gpu.predict(PIXELS, ModelRef("pets"))
    served.versions = (1, 2)
    after = gpu.predict(PIXELS, ModelRef("pets"))

    assert (before.version, after.version) == (1, 1)
    assert served.named == [1, 1]


def test_newer_version_that_is_fit_takes_over(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(90))
    served.versions = (1, 2, 3)

    wait_until(
        lambda: post_image(client, grey(90)).get_json()["version"] == 3, "version 3"
    )
    assert 2 not in served.named


def test_version_that_is_unloaded_is_replaced_at_once(
    model_client: ModelServerClient, served: ServedModel
) -> None:
    patient = GpuModelServer(model_client, look_seconds=600)
    served.versions = (1, 3)
    before = patient.predict(PIXELS, ModelRef("pets"))
    served.versions = (1, 2)
    after = patient.predict(PIXELS, ModelRef("pets"))

    assert (before.version, after.version) == (3, 1)


def test_version_that_is_not_there_is_not_found(
    gpu: GpuModelServer, served: ServedModel
) -> None:
    with pytest.raises(NotFoundError):
        gpu.describe(ModelRef("pets", version=9))
    served.versions = ()
    with pytest.raises(NotFoundError):
        gpu.predict(PIXELS, ModelRef("pets"))


def test_model_server_that_is_away_is_unavailable(
    gpu: GpuModelServer, served: ServedModel
) -> None:
    served.stop()

    with pytest.raises(ModelUnavailableError):
        gpu.predict(PIXELS, ModelRef("pets"), timeout_seconds=0.5)


def test_int8_version_answers_from_cpus(
    settings: ServiceSettings, model_client: ModelServerClient, served: ServedModel
) -> None:
    on_cpus = replace(settings, model_server_device="cpu")
    client = app_of(on_cpus, model_client).test_client()

    assert post_image(client, grey(90)).get_json()["version"] == 2

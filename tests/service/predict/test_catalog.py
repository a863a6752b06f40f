"""GET /v1/models, /livez and /readyz: served versions, and why others are not."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path, PurePath

import pytest
from flask.testing import FlaskClient

from models.errors import InvalidRequestError, ModelUnavailableError
from models.wire.client import ModelServerClient
from models.wire.config import default_entry, render_entries
from models.wire.messages import ModelRef
from service.app import bare_app
from service.http.budget import Budget
from service.pages.content import version_rows
from service.predict.catalog import (
    LOAD_FAILED,
    Catalog,
    ModelNames,
    ModelViews,
    available_versions,
)
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import app_of, post_image
from tests.service.served_model import ServedModel


def test_models_lists_versions_and_cards(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.loading = (1, 2), (3,)

    models = client.get("/v1/models").get_json()["models"]

    versions = models[0]["versions"]
    assert [model["name"] for model in models] == ["pets"]
    assert [(each["version"], each["state"]) for each in versions] == [
        (3, "LOADING"),
        (2, "AVAILABLE"),
        (1, "AVAILABLE"),
    ]
    assert "card" not in versions[0]
    assert versions[1]["card"]["version"] == 2
    assert versions[1]["card"]["labels"] == ["cat", "dog"]


def test_one_model(client: FlaskClient) -> None:
    assert client.get("/v1/models/pets").get_json()["versions"][0]["version"] == 1
    assert client.get("/v1/models/cows").get_json()["code"] == "model_not_found"


def test_model_that_the_server_does_not_know_has_no_versions(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    two = replace(settings, model_names=("pets", "cows"))
    client = app_of(two, model_client).test_client()

    models = client.get("/v1/models").get_json()["models"]

    assert models[1] == {"name": "cows", "versions": []}


def test_names_follow_the_configuration_file(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    names = ModelNames(("pets",), path, look_seconds=0)
    assert names() == ("pets",)

    entries = [default_entry(name, PurePath("/models")) for name in ("drivers", "pets")]
    path.write_text(render_entries(entries))
    assert names() == ("pets", "drivers")

    path.write_text("model_config_list {")
    assert names() == ("pets", "drivers")

    path.unlink()
    assert names() == ("pets", "drivers")


def test_first_model_of_the_file_answers_until_another_is_first(
    settings: ServiceSettings, model_client: ModelServerClient, tmp_path: Path
) -> None:
    path = tmp_path / "models.config"
    entries = [default_entry(name, PurePath("/models")) for name in ("solar", "pets")]
    path.write_text(render_entries(entries))
    ours = replace(settings, model_names=(), model_config_file=path)
    client = app_of(ours, model_client).test_client()

    assert client.get("/v1/models").get_json()["default_model"] == "solar"
    assert client.get("/v1/info").get_json()["default_model"] == "solar"
    path.write_text(render_entries(reversed(entries)))
    wait_until(
        lambda: client.get("/v1/info").get_json()["default_model"] == "pets",
        "the other order",
    )
    assert "pets (default)" in client.get("/").text
    assert "solar (default)" not in client.get("/jobs").text


def test_default_model_that_is_not_served_is_named_with_those_that_are(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    caplog: pytest.LogCaptureFixture,
) -> None:
    wrong = replace(settings, default_model="cows")
    client = app_of(wrong, model_client).test_client()

    answer = post_image(client, grey(90))
    sentence = "no default model is served: name one of 'pets' in the request"
    on_page = sentence.replace("'", "&#39;")
    assert (answer.status_code, answer.get_json()["code"]) == (503, "model_not_ready")
    assert sentence in answer.get_json()["detail"]
    assert sentence in client.get("/readyz").text
    assert on_page in client.get("/").text
    assert "DEFAULT_MODEL=cows names no served model" in caplog.text
    assert client.get("/v1/models").get_json()["default_model"] is None
    assert post_image(client, grey(90), "?model=pets").status_code == 200


def test_default_model_alone_is_served(
    settings: ServiceSettings, model_client: ModelServerClient
) -> None:
    only = replace(settings, model_names=(), default_model="pets")
    client = app_of(only, model_client).test_client()

    assert post_image(client, grey(90)).get_json()["model"] == "pets"
    assert client.get("/v1/models").get_json()["models"][0]["name"] == "pets"


def test_broken_configuration_stops_the_start(tmp_path: Path) -> None:
    path = tmp_path / "models.config"
    path.write_text("nonsense")

    with pytest.raises(InvalidRequestError, match=r"models\.config"):
        ModelNames((), path)


def test_process_is_alive_without_anything(
    client: FlaskClient, served: ServedModel
) -> None:
    served.stop()

    assert client.get("/livez").status_code == 200


def test_ready_when_both_parts_answer(jobs_client: FlaskClient) -> None:
    response = jobs_client.get("/readyz")

    assert response.status_code == 200
    assert response.get_json()["status"] == "ready"


def test_redis_away_only_degrades(
    jobs_client: FlaskClient, redis_server: RedisServer
) -> None:
    redis_server.kill()

    response = jobs_client.get("/readyz")

    assert response.status_code == 200
    assert response.get_json()["status"] == "degraded"
    assert response.get_json()["parts"]["redis"]["code"] == "queue_unavailable"


def test_default_model_without_available_version_is_not_ready(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.loading = (), (1,)

    response = client.get("/readyz")

    assert response.status_code == 503
    assert "1 LOADING" in response.get_json()["parts"]["model_server"]["detail"]


class Clock:
    """Seconds that pass when the test says so."""

    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def catalog(model_client: ModelServerClient, clock: Clock) -> Catalog:
    return Catalog(model_client, lambda: ("pets",), clock=clock)


@pytest.fixture
def models(settings: ServiceSettings, catalog: Catalog) -> FlaskClient:
    """The API's views of models, by the test's clock."""
    app = bare_app(settings)
    app.register_blueprint(
        ModelViews(catalog, settings.request_timeout_seconds).blueprint()
    )
    return app.test_client()


def test_version_that_loads_for_long_is_named_without_an_error(
    models: FlaskClient, served: ServedModel, clock: Clock
) -> None:
    """A real TensorFlow Serving repeats a load for minutes and says LOADING meanwhile."""
    served.versions, served.loading, served.waiting = (3,), (4,), (5,)
    early = models.get("/v1/models/pets").get_json()["versions"]
    clock.now += 75
    one = models.get("/v1/models/pets").get_json()["versions"]
    [every] = models.get("/v1/models").get_json()["models"]

    assert [each.get("problem") for each in early] == [None, None, None]
    assert [each.get("loading_seconds") for each in early] == [0, 0, None]
    assert [each.get("loading_seconds") for each in one] == [75, 75, None]
    assert "version 5 has waited to load for 75 s" in one[0]["problem"]
    assert "version 4 has been loading for 75 s" in one[1]["problem"]
    assert "the model server logs say why" in one[1]["problem"]
    assert "error" not in one[1]
    assert every["versions"] == one


def test_clock_starts_again_for_a_version_that_was_there_meanwhile(
    catalog: Catalog, served: ServedModel, clock: Clock
) -> None:
    served.versions, served.loading = (3,), (4,)
    catalog.versions("pets", 1)
    for versions, loading in [((3, 4), ()), ((3,), (4,))]:
        clock.now += 75
        served.versions, served.loading = versions, loading
        states = catalog.versions("pets", 1)

    assert (states[0].version, states[0].loading_seconds) == (4, 0)


def test_reason_of_the_model_server_is_logged_once_and_not_told(
    client: FlaskClient, served: ServedModel, caplog: pytest.LogCaptureFixture
) -> None:
    served.versions, served.broken = (3,), {4: "no MetaGraphDef with tags { serve }"}

    newest = client.get("/v1/models/pets").get_json()["versions"][0]
    prediction = post_image(client, grey(9), "?version=4").get_json()
    ready = client.get("/v2/models/pets/versions/4/ready").get_json()

    for text in (newest["problem"], prediction["detail"], ready["detail"]):
        assert f"version 4 cannot be loaded: {LOAD_FAILED}" in text
        assert "MetaGraphDef" not in text
    assert newest["error"] == LOAD_FAILED
    assert caplog.text.count("version 4 cannot be loaded: no MetaGraphDef") == 1
    assert prediction["code"] == "version_not_found"


def test_pinned_request_learns_why_its_version_is_away(
    catalog: Catalog, served: ServedModel, clock: Clock
) -> None:
    served.versions, served.loading = (3,), (4,)
    catalog.versions("pets", 1)
    clock.now += 75

    with pytest.raises(
        ModelUnavailableError, match="version 4 has been loading for 75"
    ):
        catalog.describe(ModelRef("pets", version=4), 1)


def test_page_of_a_model_says_what_keeps_a_version_away(
    catalog: Catalog, served: ServedModel, clock: Clock
) -> None:
    served.versions, served.loading = (3,), (4,)
    catalog.versions("pets", 1)
    clock.now += 75

    rows = version_rows(catalog, "pets", {}, Budget(5))

    assert "version 4 has been loading for 75 s" in rows[0].problem
    assert (rows[1].problem, rows[1].answers) == ("", True)


def test_page_shows_the_reason(client: FlaskClient, served: ServedModel) -> None:
    served.versions, served.broken = (3,), {4: "the graph is cut off"}

    page = client.get("/models/pets").text

    assert "version 4 cannot be loaded" in page
    assert "the graph is cut off" not in page


@pytest.mark.parametrize("state", ["loading", "waiting", "broken"])
def test_older_version_that_answers_keeps_the_api_ready(
    client: FlaskClient, served: ServedModel, state: str
) -> None:
    served.versions = (3,)
    setattr(served, state, {4: "cut off"} if state == "broken" else (4,))

    probe = client.get("/readyz")
    answer = post_image(client, grey(9))
    protocol = client.get("/v2/models/pets/ready")

    assert (probe.status_code, protocol.status_code) == (200, 200)
    assert probe.get_json()["parts"]["model_server"]["versions"] == [3]
    assert answer.get_json()["version"] == 3


def test_readiness_says_why_no_version_is_there(
    catalog: Catalog, served: ServedModel, clock: Clock
) -> None:
    served.versions, served.loading, served.broken = (), (4,), {3: "cut off"}
    catalog.versions("pets", 1)
    clock.now += 75

    with pytest.raises(ModelUnavailableError) as raised:
        available_versions(catalog, "pets", 1)

    assert "4 LOADING, 3 END" in str(raised.value)
    assert "version 4 has been loading for 75 s" in str(raised.value)
    assert f"version 3 cannot be loaded: {LOAD_FAILED}" in str(raised.value)

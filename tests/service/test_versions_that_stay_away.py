"""A published version that is not loaded: where it is named, and with which reason."""

from __future__ import annotations

import pytest
from flask.testing import FlaskClient

from models.errors import ModelUnavailableError
from models.wire.client import ModelServerClient
from models.wire.messages import ModelRef
from service.bare_app import bare_app
from service.budget import Budget
from service.pages.versions import version_rows
from service.served.catalog import LOAD_FAILED, Catalog
from service.served.readiness import available_versions
from service.served.views import ModelViews
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.conftest import post_image
from tests.service.served_model import ServedModel


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
    app.register_blueprint(ModelViews(settings, catalog).blueprint())
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

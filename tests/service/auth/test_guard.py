"""API keys: which are accepted, and what each scope allows."""

from __future__ import annotations

from pathlib import Path

import pytest
from flask import Flask
from flask.testing import FlaskClient

from models.errors import InvalidRequestError
from models.wire.client import ModelServerClient
from service.auth.guard import AuthSettings, listed_need, need_of
from service.auth.keys import KeyRing, remove_key
from service.settings import ServiceSettings
from tests.pictures import grey
from tests.service.auth.protected import bearer, new_key, protected_app
from tests.service.conftest import post_image


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "keys"


@pytest.fixture
def secrets(path: Path) -> dict[str, str]:
    """A key of each scope, under the scope's name."""
    return {
        scope: new_key(path, scope, scope) for scope in ("predict", "jobs", "admin")
    }


@pytest.fixture
def guarded(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    path: Path,
    secrets: dict[str, str],
) -> FlaskClient:
    auth = AuthSettings(api_keys_file=path)
    app = protected_app(settings, model_client, auth)
    app.add_url_rule("/unlisted", view_func=lambda: "secret")
    return app.test_client()


def test_every_route_has_a_need(app: Flask) -> None:
    unlisted = {
        rule.endpoint
        for rule in app.url_map.iter_rules()
        if listed_need(rule.endpoint) is None
    }

    assert unlisted == set()


def test_unlisted_route_needs_admin() -> None:
    assert need_of("something.new", "GET").scope == "admin"
    assert need_of("models.replace", "PUT").scope == "admin"


@pytest.mark.parametrize(
    ("path_", "allowed"),
    [
        ("/v1/models", {"predict", "jobs", "admin"}),
        ("/v1/jobs", {"jobs", "admin"}),
        ("/v1/jobs/x", {"jobs", "admin"}),
        ("/unlisted", {"admin"}),
    ],
)
def test_scopes_open_their_routes_only(
    guarded: FlaskClient, secrets: dict[str, str], path_: str, allowed: set[str]
) -> None:
    for scope, secret in secrets.items():
        response = guarded.get(path_, headers=bearer(secret))

        assert (response.status_code != 403) == (scope in allowed)
        if scope not in allowed:
            assert response.get_json()["code"] == "forbidden"
            assert scope in response.get_json()["detail"]


@pytest.mark.parametrize("scope", ["predict", "admin"])
def test_predictions_need_predict(
    guarded: FlaskClient, secrets: dict[str, str], scope: str
) -> None:
    key = {"X-API-Key": secrets[scope]}

    assert post_image(guarded, grey(9), headers=key).status_code == 200
    assert post_image(guarded, grey(9)).status_code == 401
    jobs = bearer(secrets["jobs"])
    assert post_image(guarded, grey(9), headers=jobs).status_code == 403


@pytest.mark.parametrize(
    "headers",
    [
        {},
        {"Authorization": "Bearer"},
        {"Authorization": "Bearer kennel_wrong"},
        {"Authorization": "Basic a2V5OmtleQ=="},
        {"Authorization": "Digest nonsense"},
        {"X-API-Key": ""},
        {"X-API-Key": "kennel_" + "a" * 8000},
        {"X-API-Key": "caf\xe9"},
        {"Cookie": "kennel_session=admin.aaaa.bbbb"},
    ],
    ids=str,
)
def test_without_a_known_key_nothing_opens(
    guarded: FlaskClient, headers: dict[str, str]
) -> None:
    response = guarded.get("/v1/models", headers=headers)

    assert (response.status_code, response.get_json()["code"]) == (
        401,
        "unauthenticated",
    )
    assert response.headers["WWW-Authenticate"].startswith('Bearer realm="kennel"')


def test_probes_need_no_key_and_absent_paths_stay_absent(guarded: FlaskClient) -> None:
    assert guarded.get("/livez").status_code == 200
    assert guarded.get("/readyz").status_code == 200
    assert guarded.get("/nothing").status_code == 404
    assert guarded.get("/v1/predict").status_code == 405


def test_keys_follow_the_file(
    guarded: FlaskClient, path: Path, secrets: dict[str, str]
) -> None:
    later = new_key(path, "later", "predict")
    assert guarded.get("/v1/models", headers=bearer(later)).status_code == 200

    remove_key(path, "later")
    assert guarded.get("/v1/models", headers=bearer(later)).status_code == 401

    good = bearer(secrets["predict"])
    path.write_text("not a key file")
    assert guarded.get("/v1/models", headers=good).status_code == 200
    path.unlink()
    assert guarded.get("/v1/models", headers=good).status_code == 200
    path.write_text("# nobody\n")
    assert guarded.get("/v1/models", headers=good).status_code == 401


@pytest.mark.parametrize(
    "line",
    [
        "app predict " + "a" * 64,
        "app predict - " + "g" * 64,
        "app anything - " + "a" * 64,
        "app predict often " + "a" * 64,
        "a/b predict - " + "a" * 64,
        "app predict - kennel_secret",
    ],
)
def test_broken_key_file_stops_the_start_without_quoting_it(
    path: Path, line: str
) -> None:
    path.write_text(f"# keys\n{line}\n")

    with pytest.raises(InvalidRequestError, match="line 2 is not") as caught:
        KeyRing(path)
    assert line.split()[-1] not in str(caught.value)


def test_missing_key_file_stops_the_start(path: Path) -> None:
    with pytest.raises(InvalidRequestError, match="kennel keys add"):
        KeyRing(path)


def test_open_service_asks_for_nothing(app: Flask) -> None:
    assert app.test_client().get("/v1/models").status_code == 200

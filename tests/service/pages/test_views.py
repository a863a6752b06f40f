"""The HTML of the pages, without a browser."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from flask import Flask, render_template
from flask.testing import FlaskClient

from models.contract import REPORT_FILE
from service.pages.content import MAX_SUGGESTIONS, suggest_folders
from service.pages.views import Assets
from service.settings import ServiceSettings
from tests.pictures import write_folder
from tests.service.served_model import ServedModel

BROWSER = {"Accept": "text/html,application/xhtml+xml,*/*;q=0.8"}
PAGES = ("/", "/jobs", "/models", "/models/pets", "/models/pets/versions/1")


@pytest.mark.parametrize("path", PAGES)
def test_page_has_nothing_inline(client: FlaskClient, path: str) -> None:
    page = client.get(path, headers=BROWSER)

    assert (page.status_code, page.mimetype) == (200, "text/html")
    assert re.findall(r"<style|<script(?! type=\"module\" src=)", page.text) == []
    assert re.findall(r"\s(style|on[a-z]+)=", page.text) == []


@pytest.mark.parametrize("path", PAGES)
def test_assets_of_a_page_are_kept_for_ever(client: FlaskClient, path: str) -> None:
    text = client.get(path, headers=BROWSER).text
    assets = re.findall(r'(?:href|src)="(/static/[^"]+)"', text)

    assert len(assets) >= 5
    for asset in assets:
        answer = client.get(asset)
        assert answer.status_code == 200
        assert "immutable" in answer.headers["Cache-Control"]
        assert answer.headers["X-Content-Type-Options"] == "nosniff"


def test_asset_of_another_release_is_not_kept(client: FlaskClient) -> None:
    answer = client.get("/static/0123456789abcdef/photos.js")

    assert answer.mimetype == "text/javascript"
    assert answer.headers["Cache-Control"] == "no-cache"


@pytest.mark.parametrize("name", ["nothing.js", "..%2Fviews.py", "%2e%2e/views.py"])
def test_only_assets_are_static(client: FlaskClient, name: str) -> None:
    assert client.get(f"/static/0123456789abcdef/{name}").status_code == 404


def test_digest_changes_with_any_file(tmp_path: Path) -> None:
    (tmp_path / "a.js").write_text("one")
    first = Assets.read(tmp_path).digest
    (tmp_path / "b.css").write_text("two")

    assert Assets.read(tmp_path).digest != first


@pytest.mark.parametrize("path", ["/nothing", "/jobs/nothing", "/models/cows"])
def test_browser_gets_a_page(client: FlaskClient, path: str) -> None:
    page = client.get(path, headers=BROWSER)

    assert (page.status_code, page.mimetype) == (404, "text/html")
    assert "<h1>There is nothing here</h1>" in page.text


@pytest.mark.parametrize("path", ["/v1/nothing", "/v1/models/cows", "/static/x/y.js"])
def test_programs_paths_answer_problems_to_all(client: FlaskClient, path: str) -> None:
    answer = client.get(path, headers=BROWSER)

    assert (answer.status_code, answer.mimetype) == (404, "application/problem+json")


def test_program_that_errs_on_a_page_gets_a_problem(client: FlaskClient) -> None:
    answer = client.get("/nothing", headers={"Accept": "*/*"})

    assert answer.get_json()["code"] == "not_found"


def test_model_server_away_is_a_page_to_try_again(
    client: FlaskClient, served: ServedModel
) -> None:
    served.stop()
    page = client.get("/models/pets", headers=BROWSER)

    assert (page.status_code, page.mimetype) == (503, "text/html")
    assert page.headers["Retry-After"] == "2"
    assert "Try again" in page.text
    assert client.get("/", headers=BROWSER).status_code == 200


def test_what_was_asked_for_is_escaped(client: FlaskClient) -> None:
    page = client.get("/models/<script>alert(1)</script>", headers=BROWSER)

    assert "<script>alert" not in page.text


def test_model_page_says_who_answers(
    settings: ServiceSettings, client: FlaskClient, served: ServedModel
) -> None:
    served.versions = (1, 2)
    served.loading = (3,)

    words = re.sub(r"<[^>]+>", " ", client.get("/models/pets").text).split()

    assert "3 loading 2 available answers 1 available" in " ".join(words)
    assert client.get("/models/pets/versions/4", headers=BROWSER).status_code == 404


def test_sign_in_shows_what_was_wrong(app: Flask) -> None:
    with app.test_request_context():
        app.preprocess_request()
        text = render_template("login.html", problem="no such key", next_path="/jobs")

    assert 'role="alert" id="key-problem">no such key<' in text
    assert '<input type="hidden" name="next" value="/jobs">' in text


def test_report_comes_with_a_policy_of_its_own(
    client: FlaskClient, settings: ServiceSettings
) -> None:
    report = settings.models_dir / "pets" / "1" / REPORT_FILE
    report.parent.mkdir(parents=True)
    report.write_text("<h1>Report</h1>")

    answer = client.get("/models/pets/versions/1/report")

    assert answer.text == "<h1>Report</h1>"
    assert "style-src 'unsafe-inline'" in answer.headers["Content-Security-Policy"]
    assert ">Training report</a>" in client.get("/models/pets").text
    answer.close()


def test_missing_report_is_not_found(client: FlaskClient) -> None:
    answer = client.get("/models/pets/versions/1/report", headers=BROWSER)

    assert answer.status_code == 404
    assert "export it again" in answer.text


def test_folders_are_suggested_and_nothing_else(tmp_path: Path) -> None:
    write_folder(tmp_path / "test" / "front", 1)
    (tmp_path / ".cache").mkdir()
    (tmp_path / "a" / "b" / "c" / "d").mkdir(parents=True)
    (tmp_path / "link").symlink_to(Path("/etc"))

    assert suggest_folders(tmp_path) == ["a", "a/b", "a/b/c", "test", "test/front"]
    assert suggest_folders(tmp_path / "nothing") == []


def test_suggestions_are_bounded(tmp_path: Path) -> None:
    for number in range(MAX_SUGGESTIONS + 20):
        (tmp_path / f"{number:03d}").mkdir()

    assert len(suggest_folders(tmp_path)) == MAX_SUGGESTIONS

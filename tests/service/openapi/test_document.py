"""GET /openapi.json and /docs: every route is described, and the page works offline."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient
from jsonschema_rs import Draft202012Validator

import service
from service.documents.codes import CODES
from tests.service.api_process import serving

if TYPE_CHECKING:
    from playwright.sync_api import Browser


API = ("/v1", "/v2", "/livez", "/readyz", "/metrics")
METHODS = {"get", "post", "put", "patch", "delete"}


@pytest.fixture
def document(client: FlaskClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/openapi.json").get_json()
    return answer


def operations(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    for path in document["paths"].values():
        yield from (path[method] for method in METHODS & set(path))


def test_every_route_of_the_api_is_described(
    app: Flask, document: dict[str, Any]
) -> None:
    routes = {
        rule.endpoint.replace(".", "_")
        for rule in app.url_map.iter_rules()
        if rule.rule.startswith(API)
    }

    described = {
        operation["operationId"]
        for operation in operations(document)
        if operation.get("responses")
    }
    assert described == routes


def test_operation_has_an_id_of_its_own_and_says_what_it_does(
    document: dict[str, Any],
) -> None:
    described = list(operations(document))

    assert all(operation["summary"] for operation in described)
    ids = [operation["operationId"] for operation in described]
    assert len(set(ids)) == len(ids)


def test_document_is_openapi(document: dict[str, Any]) -> None:
    schemathesis.openapi.from_dict(document).validate()


def test_document_is_sent_once(client: FlaskClient) -> None:
    tag = client.get("/openapi.json").headers["ETag"]

    again = client.get("/openapi.json", headers={"If-None-Match": tag})

    assert (again.status_code, again.data) == (304, b"")


def examples(document: dict[str, Any]) -> Iterator[tuple[dict[str, Any], Any]]:
    for operation in operations(document):
        bodies = [operation.get("requestBody", {}), *operation["responses"].values()]
        for content in [
            form for body in bodies for form in body.get("content", {}).values()
        ]:
            if "example" in content:
                yield content["schema"], content["example"]
            for each in content.get("examples", {}).values():
                name = each["$ref"].rpartition("/")[2]
                yield (
                    content["schema"],
                    document["components"]["examples"][name]["value"],
                )


def test_examples_fit_their_schemas(document: dict[str, Any]) -> None:
    for schema, example in examples(document):
        whole = {**schema, "components": document["components"]}

        Draft202012Validator(whole).validate(example)


def raised_codes(root: Path) -> Iterator[str]:
    for path in root.rglob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            match node:
                case ast.keyword(arg="code", value=ast.Constant(value=str(code))):
                    yield code


def test_every_code_that_is_raised_is_in_the_table() -> None:
    assert set(raised_codes(Path(service.__path__[0]))) <= set(CODES)


@pytest.fixture
def address(app: Flask) -> Iterator[str]:
    with serving(app) as running:
        yield running


def test_page_works_without_the_internet_and_complaints(
    browser: Browser, address: str
) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    with browser.new_context() as context:
        page = context.new_page()
        page.on("console", lambda message: complaints.append(message.text))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("request", lambda request: requests.append(request.url))
        page.goto(f"{address}/docs")
        operation = page.locator("#operations-health-health_alive")
        operation.locator(".opblock-summary-control").click()
        operation.locator(".try-out__btn").click()
        operation.locator(".execute").click()
        answer = operation.locator(".live-responses-table").inner_text()

    assert '"status": "alive"' in answer
    assert complaints == []
    assert all(url.startswith((address, "data:", "blob:")) for url in requests)

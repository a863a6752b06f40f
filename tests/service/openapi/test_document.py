"""/openapi.json and /docs: document and code agree in both directions."""

from __future__ import annotations

import ast
import dataclasses
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import schemathesis
from flask import Flask
from flask.testing import FlaskClient

import models
import service
import worker
from kennel.client.answers import Answer, ImagePrediction, ImageProblem, Job
from kennel.client.client import JobOptions, PredictOptions
from models import VERSION
from models.errors import KennelError
from models.images.formats import FORMAT_NAMES
from service.auth.guard import NEEDS, OPEN, listed_need
from service.http.budget import TIMEOUT_HEADER
from service.http.headers import REQUEST_ID_HEADER
from service.http.problems import RETRY_AFTER_SECONDS, STATUSES, status_of
from service.jobs.submit import ARCHIVE_FIELD, IDEMPOTENCY_HEADER, MEMBERS
from service.openapi.document import read_document
from service.predict.open_inference import LENGTH_HEADER, OUTPUTS
from service.predict.tensorflow_serving import SIGNATURES
from service.rollout.gateway import ROLLOUT_KEY_HEADER
from tests.service.api_process import serving
from tests.service.openapi.described import (
    Operation,
    check,
    operations,
    problem_codes,
    resolved,
)
from worker.queue import FORMATS, LONGEST_PAGE, PAGE, STATES
from worker.request import PRIORITIES

if TYPE_CHECKING:
    from playwright.sync_api import Browser

FOR_PEOPLE = {"pages", "static", "login", "openapi"}
"""Blueprints of web pages and of the document itself."""

OF_NO_OPERATION = {"method_not_allowed", "client_gone"}
"""Codes that no operation lists: another method, and an answer that nobody gets."""

NEVER_ANSWERED = {
    *("job_over", "unreadable_file", "conflict"),
    *("invalid_dataset", "dense_weights_missing"),
}
"""Codes of errors within a worker or a training, which no request can meet."""

THERE = {
    "name": "pets",
    "version": "1",
    "label": "stable",
    "job": "0" * 16,
    "image": "1",
}

SUBMIT = "jobs_submit"
"""Its query is described in words: with an archive as the body it takes the members."""


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return read_document()


@pytest.fixture(scope="module")
def described(document: dict[str, Any]) -> list[Operation]:
    return operations(document)


def schema(document: dict[str, Any], name: str) -> dict[str, Any]:
    found: dict[str, Any] = document["components"]["schemas"][name]
    return found


def routes(app: Flask) -> Iterator[tuple[str, str, str]]:
    """Method, path as the document writes it, and endpoint of each route of the API."""
    for rule in app.url_map.iter_rules():
        if rule.endpoint.partition(".")[0] not in FOR_PEOPLE:
            path = re.sub(r"<(?:[^<>]*:)?(\w+)>", r"{\1}", rule.rule)
            for method in (rule.methods or set()) - {"HEAD", "OPTIONS"}:
                yield method.lower(), path, rule.endpoint


def test_document_is_openapi_of_this_version(
    client: FlaskClient, document: dict[str, Any]
) -> None:
    served = client.get("/openapi.json").get_json()

    assert served == document
    assert served["info"]["version"] == VERSION
    assert not [name for name in served if name.startswith("x-")]
    schemathesis.openapi.from_dict(served).validate()


def test_document_is_sent_once(client: FlaskClient) -> None:
    tag = client.get("/openapi.json").headers["ETag"]

    again = client.get("/openapi.json", headers={"If-None-Match": tag})

    assert (again.status_code, again.data) == (304, b"")


def test_routes_are_those_of_the_document(
    app: Flask, described: list[Operation]
) -> None:
    assert {(method, path) for method, path, _ in routes(app)} == {
        (each.method, each.path) for each in described
    }


def test_parts_of_paths_are_described(described: list[Operation]) -> None:
    for each in described:
        assert set(each.parameters("path")) == set(re.findall(r"{(\w+)}", each.path))


def test_operations_without_a_key_are_those_that_need_none(
    app: Flask, described: list[Operation]
) -> None:
    endpoints = {(method, path): endpoint for method, path, endpoint in routes(app)}
    assert set(NEEDS)  # the table is there: no route is open by mistake

    for each in described:
        needs_no_key = listed_need(endpoints[each.method, each.path]) is OPEN
        assert (each.members.get("security") == [{}]) == needs_no_key, each.id
        assert (401 in each.responses()) == (not needs_no_key), each.id


def test_operation_has_an_id_of_its_own_and_says_what_it_does(
    described: list[Operation],
) -> None:
    assert all(each.members["summary"] for each in described)
    assert len({each.id for each in described}) == len(described)


def test_query_parameters_are_those_that_views_read(
    app: Flask, described: list[Operation]
) -> None:
    read: set[str] = set()

    class Watching(app.request_class):  # type: ignore[name-defined,misc]
        @property
        def args(self) -> Any:
            read.add(self.endpoint)
            return super().args

    app.request_class = Watching
    client = app.test_client()
    for each in described:
        read.clear()
        path = each.path.format(**THERE)
        answer = client.open(path, method=each.method, query_string={"nothing": "1"})
        known = re.findall(r"known are ([^\"]*)", answer.text)

        assert bool(read) == bool(known) or each.id == SUBMIT, each.id
        listed = known[0].split(", ") if known else []
        assert set(each.parameters("query")) == set(listed), each.id


def test_headers_of_requests_are_those_that_are_read(
    described: list[Operation],
) -> None:
    found = {name for each in described for name in each.parameters("header")}

    assert found == {
        *(REQUEST_ID_HEADER, "traceparent", TIMEOUT_HEADER, ROLLOUT_KEY_HEADER),
        *(LENGTH_HEADER, IDEMPOTENCY_HEADER, "If-None-Match"),
    }


def test_members_of_a_job_are_those_that_are_read(document: dict[str, Any]) -> None:
    request, form = schema(document, "JobRequest"), schema(document, "JobForm")

    assert set(request["properties"]) == set(MEMBERS)
    assert set(form["properties"]) == {*MEMBERS, ARCHIVE_FIELD}
    assert {*JobOptions.__annotations__} == {*MEMBERS} - {"input"}


def test_choices_and_limits_are_those_of_the_code(
    document: dict[str, Any], described: list[Operation]
) -> None:
    asked = schema(document, "JobRequest")["properties"]
    answered = schema(document, "Job")["properties"]
    predict = next(each for each in described if each.id == "predictions_predict")
    parameters = document["components"]["parameters"]
    page = {"type": "integer", "minimum": 1, "maximum": LONGEST_PAGE, "default": PAGE}

    assert asked["format"]["enum"] == [*FORMATS, None]
    assert asked["priority"]["enum"] == [*PRIORITIES, None]
    assert answered["format"]["enum"] == [*FORMATS]
    assert answered["priority"]["enum"] == [*PRIORITIES]
    assert answered["state"]["enum"] == [*STATES]
    assert parameters["state"]["schema"]["enum"] == [*STATES]
    assert parameters["limit"]["schema"] == page
    assert FORMAT_NAMES in predict.members["description"]
    assert {*PredictOptions.__annotations__} == set(predict.parameters("query"))
    text = str(document["paths"])
    assert str([*SIGNATURES, "", None]) in text
    assert str([*OUTPUTS]) in text


def code_table(document: dict[str, Any]) -> dict[str, int]:
    """Statuses by code, as the description of the schema `Problem` lists them."""
    text = schema(document, "Problem")["properties"]["code"]["description"]
    rows = re.findall(r"^\| (\d{3}) \| `(\w+)` \| \S.* \|$", text, re.MULTILINE)
    assert len(rows) == len(text.splitlines()) - 4
    return {code: int(status) for status, code in rows}


def test_operations_list_every_code_under_its_status(
    document: dict[str, Any], described: list[Operation]
) -> None:
    table = code_table(document)
    listed: dict[str, int] = {}
    for each in described:
        for status, response in each.responses().items():
            listed.update(dict.fromkeys(problem_codes(response), status))
            names = response["headers"]
            assert REQUEST_ID_HEADER in names
            retry = status in RETRY_AFTER_SECONDS
            assert ("Retry-After" in names) == retry, (each.id, status)

    assert {**dict.fromkeys(OF_NO_OPERATION, 0), **listed}.keys() == table.keys()
    assert {code: table[code] for code in listed} == listed


class Raised:
    """Codes of errors that the sources raise, and the statuses that they are answered with."""

    def __init__(self, *packages: Any) -> None:
        self.statuses: dict[str, set[int]] = {}
        self.constants: dict[str, str] = {}
        trees = [
            ast.parse(path.read_text())
            for package in packages
            for path in Path(package.__path__[0]).rglob("*.py")
        ]
        for tree in trees:
            self.constants.update(constants(tree))
        for tree in trees:
            for node in ast.walk(tree):
                if isinstance(node, ast.Call):
                    self._add(node)
                if isinstance(node, ast.FunctionDef):
                    self._add_default(node)

    def _add(self, call: ast.Call) -> None:
        kind = ERRORS.get(getattr(call.func, "id", ""))
        code = next((each.value for each in call.keywords if each.arg == "code"), None)
        for name in self._texts(code) if code else ([kind.code] if kind else []):
            statuses = self.statuses.setdefault(name, set())
            if kind is not None:
                error = kind.__new__(kind)
                error.code = name
                statuses.add(status_of(error))

    def _add_default(self, function: ast.FunctionDef) -> None:
        given = [*function.args.posonlyargs, *function.args.args]
        defaults = function.args.defaults
        for argument, default in zip(given[::-1], defaults[::-1], strict=False):
            if argument.arg == "code":
                for name in self._texts(default):
                    self.statuses.setdefault(name, set())

    def _texts(self, code: ast.expr) -> list[str]:
        match code:
            case ast.Constant(value=str(text)):
                return [text]
            case ast.Name(id=name) if name in self.constants:
                return [self.constants[name]]
            case ast.IfExp(body=body, orelse=other):
                return [*self._texts(body), *self._texts(other)]
        return []


def constants(tree: ast.Module) -> Iterator[tuple[str, str]]:
    for node in tree.body:
        match node:
            case ast.AnnAssign(
                target=ast.Name(id=name), value=ast.Constant(value=str(text))
            ):
                yield name, text


def subclasses(kind: type[KennelError]) -> Iterator[type[KennelError]]:
    yield kind
    for each in kind.__subclasses__():
        yield from subclasses(each)


ERRORS: Mapping[str, type[KennelError]] = {
    each.__name__: each
    for each in subclasses(KennelError)
    if "test" not in each.__module__
}


def test_codes_are_those_that_are_raised(document: dict[str, Any]) -> None:
    table = code_table(document)
    raised = Raised(models, service, worker)
    by_class = {each.code for each in ERRORS.values()}
    by_status = {key for key in STATUSES if isinstance(key, str)}

    assert by_status <= set(table)
    assert set(raised.statuses) - NEVER_ANSWERED <= set(table)
    assert set(table) <= {*raised.statuses, *by_class, *by_status}
    for code, statuses in raised.statuses.items():
        assert statuses <= {table.get(code, *statuses)}, code


def examples(document: dict[str, Any], form: dict[str, Any]) -> list[Any]:
    """The examples of one form of a body, and of its schema."""
    named = [each["value"] for each in form.get("examples", {}).values()]
    own = [form["example"]] if "example" in form else []
    return [*resolved(document, form["schema"]).get("examples", []), *named, *own]


def test_examples_fit_their_schemas(
    document: dict[str, Any], described: list[Operation]
) -> None:
    for each in described:
        responses = each.responses().values()
        contents = [each.body(), *(answer.get("content", {}) for answer in responses)]
        for form in [form for content in contents for form in content.values()]:
            for example in examples(document, form):
                check(document, form["schema"], example)


def test_every_code_has_an_example_as_the_table_says(
    document: dict[str, Any],
) -> None:
    text = schema(document, "Problem")["properties"]["code"]["description"]
    for response in document["components"]["responses"].values():
        shown = response["content"]["application/problem+json"]["examples"]

        assert [*shown] == problem_codes(response)
        for code, example in shown.items():
            problem = example["value"]
            row = f"| {problem['status']} | `{code}` | {problem['detail']} |"
            assert (row in text, problem["code"]) == (True, code)


def test_clients_answers_have_the_members_of_the_document(
    document: dict[str, Any],
) -> None:
    def members(name: str) -> set[str]:
        return set(schema(document, name)["properties"])

    def fields(kind: Any) -> set[str]:
        return {each.name for each in dataclasses.fields(kind)}

    assert fields(Answer) == members("Predictions")
    assert fields(ImagePrediction) == members("Prediction")
    assert fields(ImageProblem) == members("ListedError") - {"index"}
    flat = members("Job") - {"progress"} | members("Progress")
    assert fields(Job) - {"content"} <= flat


def test_client_reads_the_examples_of_the_document(document: dict[str, Any]) -> None:
    answer = schema(document, "Predictions")["examples"][0]
    job = schema(document, "Job")["examples"][0]

    assert Answer.from_json(answer).to_json() == answer
    assert Job.from_json(job).content == job


def test_page_works_without_the_internet_and_complaints(
    browser: Browser, app: Flask
) -> None:
    complaints: list[str] = []
    requests: list[str] = []
    with serving(app) as address, browser.new_context() as context:
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

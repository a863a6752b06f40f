"""Requests that fit the document get its answers; all others are refused.

Schemathesis makes the requests out of /openapi.json and looks at the answers. It knows
nothing of this service: the fixture tells it the names of what there is.
"""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any, TypeAlias

import pytest
import schemathesis
from flask import Flask
from hypothesis import HealthCheck, given
from hypothesis import settings as examples
from schemathesis import Case, GenerationMode
from schemathesis.checks import load_all_checks
from schemathesis.core.result import Ok
from schemathesis.schemas import APIOperation, BaseSchema
from schemathesis.specs.openapi.checks import positive_data_acceptance

from models.rollouts import STARTING
from models.wire.client import ModelServerClient
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.service.conftest import app_of
from tests.service.openapi.described import Operation, check_answer, operations
from tests.service.rollout.rollouts_file import write_rollout
from tests.service.served_model import ServedModel

ApiOperation: TypeAlias = APIOperation[Any, Any, Any, Any]

# Random bytes are no image, and how many labels there are only the model knows.
EXCLUDED: list[Any] = [positive_data_acceptance]

THERE: dict[str, Any] = {"name": "pets", "version": 1, "label": "stable", "image": "1"}

OF_A_FINISHED_JOB = {
    *("jobs_submission", "jobs_delete"),
    *("scores_report", "scores_scores", "scores_image"),
}
"""What only a finished job can answer: tests/service/jobs/test_results.py asks it."""

OTHER_PATHS_OF_A_VIEW = ("_version", "_label")
"""The same view below the path of a version or a label."""


@pytest.fixture
def app(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    served: ServedModel,
    redis_server: RedisServer,
    tmp_path: Path,
) -> Flask:
    """The API with all its neighbours, a labelled version, a rollout and a folder."""
    write_folder(settings.input_root / "test", 2)
    write_rollout(tmp_path / "models", state=STARTING)
    settings = replace(settings, models_dir=tmp_path / "models")
    served.version_labels = {"stable": 1}
    return app_of(settings, model_client, redis_server.url)


@pytest.fixture
def there(app: Flask) -> dict[str, Any]:
    """What the parts of paths can be, with a job that was just queued."""
    job = app.test_client().post("/v1/jobs", json={"input": "test"}).get_json()["id"]
    return {**THERE, "job": job}


def test_every_operation_succeeds_as_described(
    app: Flask, there: dict[str, Any], subtests: pytest.Subtests
) -> None:
    client = app.test_client()
    document = client.get("/openapi.json").get_json()
    for operation in operations(document):
        if operation.id in OF_A_FINISHED_JOB:
            continue
        path, method = operation.path.format(**there), operation.method.upper()
        with subtests.test(f"{method} {path}"):
            response = client.open(path, method=method, json=json_body(operation))

            assert response.status_code < 300, response.text
            check_answer(document, operation.id, response)


def json_body(operation: Operation) -> Any:
    if operation.id == "jobs_submit":
        return {"input": "test"}
    return operation.body().get("application/json", {}).get("example")


def narrowed(document: dict[str, Any], there: dict[str, Any]) -> dict[str, Any]:
    """*document* with the names of what is there, and no member left unsaid."""
    components = document["components"]
    for part, value in there.items():
        components["parameters"][f"path-{part}"]["schema"] = {"enum": [value]}
    schemas = components["schemas"]
    schemas["JobRequest"]["properties"]["input"] = {"enum": ["test"]}
    # A tenth of a second is too little on a busy machine, and 504 is right then.
    components["parameters"]["X-Request-Timeout-Ms"]["schema"]["minimum"] = 9000
    for schema in schemas.values():
        if "properties" in schema:
            schema["additionalProperties"] = False
    return document


def api_operations(api: BaseSchema) -> list[ApiOperation]:
    found = [each for each in api.get_all_operations() if isinstance(each, Ok)]
    return [each.ok() for each in found]


def test_answers_are_those_of_the_document(
    app: Flask, there: dict[str, Any], subtests: pytest.Subtests
) -> None:
    load_all_checks()
    document = app.test_client().get("/openapi.json").get_json()
    api = schemathesis.openapi.from_dict(narrowed(document, there))
    api.app = app
    found = api_operations(api)
    assert len(found) == len(operations(document))
    for operation in found:
        id_ = operation.definition.raw["operationId"]
        if not id_.endswith(OTHER_PATHS_OF_A_VIEW):
            with subtests.test(operation.label):
                explore(operation)


def explore(operation: ApiOperation) -> None:
    fitting = operation.as_strategy(generation_mode=GenerationMode.POSITIVE)
    others = operation.as_strategy(generation_mode=GenerationMode.NEGATIVE)

    @examples(
        max_examples=12,
        deadline=None,
        database=None,
        derandomize=True,
        # Where anything is allowed nothing is wrong: half the examples fall away.
        suppress_health_check=[HealthCheck.filter_too_much, HealthCheck.too_slow],
    )
    @given(case=fitting | others)
    def answer(case: Case[Any]) -> None:
        case.call_and_validate(excluded_checks=EXCLUDED)

    answer()

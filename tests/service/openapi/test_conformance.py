"""Whatever fits the document is answered as it says, whatever does not is refused.

Schemathesis makes the requests out of /openapi.json and looks at the answers. It knows
nothing of this service: the fixture tells it the names of what there is.
"""

from __future__ import annotations

from collections.abc import Iterator
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
from service.app import create_app
from service.settings import ServiceSettings
from tests.conftest import RedisServer
from tests.pictures import write_folder
from tests.service.rollout.decided import decide
from tests.service.served_model import ServedModel
from worker.queue import JobQueue

Operation: TypeAlias = APIOperation[Any, Any, Any, Any]

# Random bytes are no image, and how many labels there are only the model knows.
EXCLUDED: list[Any] = [positive_data_acceptance]
FINISHED_JOB = {
    *("jobs_submission", "jobs_delete"),
    *("scores_report", "scores_scores", "scores_image"),
}
"""What only a finished job can answer: test_jobs and test_scores ask it."""


@pytest.fixture
def complete(
    settings: ServiceSettings,
    model_client: ModelServerClient,
    served: ServedModel,
    redis_server: RedisServer,
    tmp_path: Path,
) -> Flask:
    """The API with all its neighbours, a labelled version, a rollout and a folder."""
    write_folder(settings.input_root / "test", 2)
    decide(tmp_path / "models", state=STARTING)
    settings = replace(settings, models_dir=tmp_path / "models")
    served.version_labels = {"stable": 1}
    queue = JobQueue(redis_server.url, settings.runs_dir, settings.input_root)
    return create_app(settings, model_client, queue)


@pytest.fixture
def api(complete: Flask) -> BaseSchema:
    """The document, narrowed to what is there, with no member left unsaid."""
    client = complete.test_client()
    job = client.post("/v1/jobs", json={"input": "test"}).get_json()["id"]
    document = client.get("/openapi.json").get_json()
    there = {"name": "pets", "version": 1, "label": "stable", "job": job}
    there["image"] = "1"
    for path in document["paths"].values():
        for part in path.get("parameters", []):
            part["schema"] = {"enum": [there[part["name"]]]}
    content = document["paths"]["/v1/jobs"]["post"]["requestBody"]["content"]
    content["application/json"]["schema"]["properties"]["input"] = {"enum": ["test"]}
    content["application/json"]["example"] = {"input": "test"}
    components = document["components"]
    # A tenth of a second is too little on a busy machine, and 504 is right then.
    components["parameters"]["X-Request-Timeout-Ms"]["schema"]["minimum"] = 9000
    for schema in components["schemas"].values():
        schema["additionalProperties"] = False
    loaded = schemathesis.openapi.from_dict(document)
    loaded.app = complete
    return loaded


def operations(api: BaseSchema) -> Iterator[Operation]:
    for found in api.get_all_operations():
        assert isinstance(found, Ok)
        yield found.ok()


def test_every_operation_succeeds_as_described(
    api: BaseSchema, subtests: pytest.Subtests
) -> None:
    for operation in operations(api):
        raw = operation.definition.raw
        if raw["operationId"] in FINISHED_JOB:
            continue
        with subtests.test(operation.label):
            response = example(operation).call_and_validate()

            assert response.status_code < 300, response.text


def example(operation: Operation) -> Case[Any]:
    parts = {
        part.name: part.definition["schema"]["enum"][0]
        for part in operation.path_parameters
    }
    body = operation.definition.raw.get("requestBody", {}).get("content", {})
    if "application/json" not in body:
        return operation.Case(path_parameters=parts)
    return operation.Case(
        path_parameters=parts,
        body=body["application/json"]["example"],
        media_type="application/json",
    )


def test_answers_are_those_of_the_document(
    api: BaseSchema, subtests: pytest.Subtests
) -> None:
    load_all_checks()
    for operation in operations(api):
        with subtests.test(operation.label):
            explore(operation)


def explore(operation: Operation) -> None:
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

"""The version that answers a request that names none, during a rollout."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import grpc
import pytest
from flask.testing import FlaskClient

from models.rollouts import ABORTED, PROMOTED, ROLLOUTS_FILE, STARTING, SUPERSEDED
from service.rollout.gateway import Rollouts, assign
from service.settings import ServiceSettings
from tests.pictures import grey, write_folder
from tests.service.conftest import post_image, post_images
from tests.service.rollout.conftest import StartApi
from tests.service.rollout.rollouts_file import ROLLOUT, write_rollout
from tests.service.served_model import ServedModel


def versions(client: FlaskClient, keys: int = 40, query: str = "") -> Counter[int]:
    answers = (
        post_image(client, grey(9), query, headers={"X-Rollout-Key": f"client-{key}"})
        for key in range(keys)
    )
    return Counter(answer.get_json()["version"] for answer in answers)


def test_both_versions_answer(start_api: StartApi) -> None:
    assert set(versions(start_api(percent=50))) == {1, 2}


@pytest.mark.parametrize(("percent", "version"), [(0, 1), (100, 2)])
def test_nothing_and_everything_are_exact(
    start_api: StartApi, percent: float, version: int
) -> None:
    assert set(versions(start_api(percent=percent), 10)) == {version}


def test_client_with_a_key_stays_on_its_side_while_the_share_grows() -> None:
    draws = [assign(ROLLOUT, f"client-{key}").canary for key in range(10_000)]

    assert draws == [assign(ROLLOUT, f"client-{key}").canary for key in range(10_000)]
    # Four standard deviations of a binomial count of 10,000.
    assert abs(sum(each < 10 for each in draws) - 1000) < 4 * 30
    assert abs(sum(each < 50 for each in draws) - 5000) < 4 * 50


def test_canary_says_that_it_is_one(start_api: StartApi) -> None:
    answer = post_image(start_api(percent=100), grey(9))

    assert answer.headers["X-Model-Version"] == "2"
    assert answer.headers["X-Model-Label"] == "canary"
    assert "X-Model-Label" not in post_image(start_api(percent=0), grey(9)).headers


@pytest.mark.parametrize("state", [STARTING, ABORTED])
def test_canary_is_not_asked_before_and_after(start_api: StartApi, state: str) -> None:
    assert set(versions(start_api(percent=100, state=state), 10)) == {1}


@pytest.mark.parametrize("state", [STARTING, ABORTED, SUPERSEDED])
def test_held_back_version_can_be_named(start_api: StartApi, state: str) -> None:
    answer = post_image(start_api(state=state), grey(9), "?version=2").get_json()

    assert answer["version"] == 2


def test_promoted_canary_answers(start_api: StartApi) -> None:
    assert set(versions(start_api(state=PROMOTED), 10)) == {2}


def test_answer_of_a_held_back_version_is_not_used(
    start_api: StartApi, served: ServedModel
) -> None:
    client = start_api(state=SUPERSEDED)

    assert set(versions(client, 5)) == {1}
    served.versions = (1, 2, 3)
    assert set(versions(client, 5)) == {3}


def test_canary_does_not_stand_in_for_a_stable_version_that_is_gone(
    start_api: StartApi, served: ServedModel
) -> None:
    client = start_api(percent=0)
    served.versions = (2,)

    answer = post_image(client, grey(9))

    assert (answer.status_code, answer.get_json()["code"]) == (503, "model_not_ready")


@pytest.mark.parametrize(
    "code",
    [
        grpc.StatusCode.UNAVAILABLE,
        grpc.StatusCode.NOT_FOUND,
        grpc.StatusCode.INTERNAL,
        grpc.StatusCode.RESOURCE_EXHAUSTED,
    ],
)
def test_stable_version_answers_for_a_canary_that_cannot(
    start_api: StartApi, served: ServedModel, code: grpc.StatusCode
) -> None:
    client = start_api(percent=100)
    served.failing[2] = code

    answer = post_image(client, grey(9))

    assert (answer.status_code, answer.get_json()["version"]) == (200, 1)
    assert "X-Model-Label" not in answer.headers


def test_stable_version_answers_once_the_canary_is_unloaded(
    start_api: StartApi, served: ServedModel
) -> None:
    client = start_api(percent=100)
    assert set(versions(client, 3)) == {2}

    served.versions = (1,)

    assert set(versions(client, 3)) == {1}


def test_canary_may_want_pixels_of_another_size(
    start_api: StartApi, served: ServedModel
) -> None:
    served.sizes[2] = (48, 64)
    client = start_api(percent=50)

    answers = [
        post_images(
            client, [grey(51)] * 2, headers={"X-Rollout-Key": str(key)}
        ).get_json()
        for key in range(20)
    ]

    assert {answer["version"] for answer in answers} == {1, 2}
    assert {
        each["raw"]["dog"] for answer in answers for each in answer["predictions"]
    } == {0.2}


def test_other_protocols_share_out_too(start_api: StartApi) -> None:
    client = start_api(percent=100)
    body = {"instances": [{"b64": _base64(grey(9))}]}

    answer = client.post("/v1/models/pets:predict", json=body)

    assert (answer.status_code, answer.headers["X-Model-Version"]) == (200, "2")


def test_explanations_and_model_pages_are_the_stable_versions(
    start_api: StartApi,
) -> None:
    client = start_api(percent=100)

    explained = post_image(client, grey(9), path="/v1/explain").get_json()

    assert explained["version"] == 1
    assert "<small>version 1</small>" in client.get("/models/pets").text


def _base64(image: bytes) -> str:
    import base64

    return base64.b64encode(image).decode()


@pytest.mark.parametrize("text", ["{", "[" * 100_000], ids=["cut off", "too deep"])
def test_broken_file_leaves_the_last_good_rollouts(tmp_path: Path, text: str) -> None:
    write_rollout(tmp_path)
    rollouts = Rollouts(tmp_path, look_seconds=0)

    (tmp_path / ROLLOUTS_FILE).write_text(text)

    assert rollouts.of("pets") == ROLLOUT


def submitted(client: FlaskClient, **members: object) -> int:
    answer = client.post("/v1/jobs", json={"input": "test", **members})
    assert answer.status_code == 202, answer.text
    return int(answer.get_json()["version"])


def test_job_that_names_no_version_is_pinned_to_the_stable_one(
    start_counting_api: StartApi, settings: ServiceSettings
) -> None:
    write_folder(settings.input_root / "test", 2)
    client = start_counting_api(percent=100)

    assert submitted(client) == 1
    assert submitted(client, version=2) == 2

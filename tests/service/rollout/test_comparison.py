"""The comparison of two versions: its counts and figures."""

from __future__ import annotations

import math
from collections import Counter
from typing import Any

import grpc
import pytest
from flask.testing import FlaskClient

from models.contract import score_bin
from service.rollout.comparison import compare, divergence
from service.rollout.counters import HISTOGRAM_BINS, bucket_milliseconds, latency_bucket
from tests.fake_model_server import DIFFERENT_SHAPES
from tests.pictures import grey
from tests.processes import wait_until
from tests.service.conftest import post_image, post_images
from tests.service.rollout.conftest import StartApi
from tests.service.served_model import ServedModel


def shown(client: FlaskClient) -> dict[str, Any]:
    answer: dict[str, Any] = client.get("/v1/models/pets/rollout").get_json()
    return answer


def wait_for(client: FlaskClient, *path: str, count: int) -> dict[str, Any]:
    def reached() -> bool:
        value: Any = shown(client)["comparison"]
        for member in path:
            value = value[member]
        return bool(value >= count)

    wait_until(reached, f"{path} of {count}")
    comparison: dict[str, Any] = shown(client)["comparison"]
    return comparison


def test_requests_images_and_scores_are_counted_by_version(
    start_counting_api: StartApi,
) -> None:
    client = start_counting_api(percent=100)
    for _ in range(3):
        post_images(client, [grey(51), grey(230)])

    canary = wait_for(client, "canary", "requests", count=3)["canary"]

    assert (canary["requests"], canary["errors"], canary["images"]) == (3, 0, 6)
    assert canary["labels"] == {"cat": 3, "dog": 3}
    assert (canary["scores"][4], canary["scores"][18]) == (3, 3)
    assert 0 < canary["p50_ms"] <= canary["p99_ms"]


def test_answer_of_the_stable_version_instead_is_the_canarys_error(
    start_counting_api: StartApi, served: ServedModel
) -> None:
    client = start_counting_api(percent=100)
    served.failing[2] = grpc.StatusCode.UNAVAILABLE
    post_image(client, grey(9))

    comparison = wait_for(client, "canary", "errors", count=1)

    assert comparison["stable"]["requests"] == 1
    assert comparison["stable"]["errors"] == 0


def test_fault_of_a_request_is_no_versions_error(start_counting_api: StartApi) -> None:
    client = start_counting_api(percent=100)
    assert post_image(client, grey(9), "?top=9").status_code == 422
    post_image(client, grey(9))

    comparison = wait_for(client, "canary", "requests", count=1)

    assert comparison["canary"]["errors"] == comparison["stable"]["errors"] == 0


def test_mirrored_images_are_compared(start_counting_api: StartApi) -> None:
    client = start_counting_api(percent=100, mirror=100)
    post_images(client, [grey(51), grey(230), b"no image"])

    agreement = wait_for(client, "agreement", "images", count=2)["agreement"]

    assert agreement["same_label"] == 1
    assert agreement["mean_difference"] == 0


def test_batch_that_a_neighbour_spoiled_is_no_error_of_a_version(
    start_counting_api: StartApi, served: ServedModel
) -> None:
    client = start_counting_api(percent=100, mirror=100)
    post_image(client, grey(9))
    wait_for(client, "agreement", "images", count=1)
    mixed = (grpc.StatusCode.FAILED_PRECONDITION, DIFFERENT_SHAPES)
    served.refusals.extend([mixed, mixed])

    answer = post_image(client, grey(9))
    served.refusals.extend([mixed, mixed])
    comparison = wait_for(client, "agreement", "images", count=2)

    assert answer.headers["X-Model-Version"] == "2"
    assert comparison["canary"]["errors"] == comparison["agreement"]["failed"] == 0


def test_mirrored_answer_is_not_waited_for_nor_counted_as_traffic(
    start_counting_api: StartApi, served: ServedModel
) -> None:
    client = start_counting_api(percent=100, mirror=100)
    served.failing[1] = grpc.StatusCode.UNAVAILABLE

    assert post_image(client, grey(9)).status_code == 200
    comparison = wait_for(client, "agreement", "failed", count=1)
    assert comparison["stable"]["requests"] == 0


def test_without_redis_the_comparison_says_what_it_misses(start_api: StartApi) -> None:
    client = start_api(percent=100)
    assert post_image(client, grey(9)).status_code == 200

    answer = shown(client)

    assert (answer["state"], answer["canary"]) == ("running", 2)
    assert answer["comparison"] is None
    assert "whose log has the details" in answer["missing"]


def test_model_without_a_rollout_says_so(client: FlaskClient) -> None:
    answer = client.get("/v1/models/pets/rollout")

    assert (answer.status_code, answer.get_json()["code"]) == (404, "rollout_not_found")


def test_equal_histograms_are_not_apart_and_others_are_a_bit_apart() -> None:
    assert divergence([10, 90], [100, 900]).bits == 0
    assert divergence([10, 0], [0, 7]).bits == 1
    assert divergence([10, 0], []).bits is None


def test_divergence_is_that_of_the_paper() -> None:
    # H((p + q) / 2) - (H(p) + H(q)) / 2, for p = (1/2, 1/2) and q = (1/4, 3/4).
    def entropy(*shares: float) -> float:
        return -sum(share * math.log2(share) for share in shares)

    expected = (
        entropy(3 / 8, 5 / 8) - (entropy(1 / 2, 1 / 2) + entropy(1 / 4, 3 / 4)) / 2
    )

    assert divergence([2, 2], [1, 3]).bits == pytest.approx(expected, abs=1e-6)


def test_nothing_counted_is_no_figure() -> None:
    comparison = compare(Counter())

    assert comparison.canary.p50_ms is None
    assert comparison.agreement.same_label is None


@pytest.mark.parametrize("milliseconds", [0.02, 1.0, 61.3, 9000.0])
def test_latency_is_known_within_five_percent(milliseconds: float) -> None:
    bucket = latency_bucket(milliseconds / 1000)

    assert bucket_milliseconds(bucket) == pytest.approx(milliseconds, rel=0.05)


def test_scores_fall_into_twentieths() -> None:
    assert [
        score_bin(score, HISTOGRAM_BINS) for score in (0, 0.049, 0.05, 0.999, 1)
    ] == [
        0,
        0,
        1,
        19,
        19,
    ]

"""Versions come, go and change their image size while requests keep coming."""

from __future__ import annotations

import threading

import pytest
from flask.testing import FlaskClient

from tests.pictures import grey
from tests.service.conftest import post_image, post_images
from tests.service.served_model import ServedModel


def test_new_version_answers_with_its_own_card(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.versions = (1, 2)
    served.calls.clear()

    versions = [post_image(client, grey(9)).get_json()["version"] for _ in range(3)]

    assert versions == [2, 2, 2]
    assert served.calls.count("describe") == 1
    assert len(served.calls) == 4


def test_rollback_needs_no_new_card(client: FlaskClient, served: ServedModel) -> None:
    for versions in [(1,), (1, 2)]:
        served.versions = versions
        post_image(client, grey(9))
    served.versions = (1,)
    served.calls.clear()

    assert post_image(client, grey(9)).get_json()["version"] == 1
    assert served.calls == ["serving_default"]


@pytest.mark.parametrize("count", [1, 40])
def test_new_image_size_is_learnt(
    client: FlaskClient, served: ServedModel, count: int
) -> None:
    post_image(client, grey(9))
    served.versions, served.sizes = (1, 2), {2: (48, 64)}

    answer = post_images(client, [grey(51)] * count).get_json()

    assert answer["version"] == 2
    assert {each["raw"]["dog"] for each in answer["predictions"]} == {0.2}


def test_pinned_version_keeps_its_image_size(
    client: FlaskClient, served: ServedModel
) -> None:
    served.versions, served.sizes = (1, 2), {2: (48, 64)}
    post_image(client, grey(9))

    assert post_image(client, grey(9), "?version=1").get_json()["version"] == 1
    assert post_image(client, grey(9)).get_json()["version"] == 2


def test_unloaded_version_is_not_found(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9), "?version=1")
    served.versions = (2,)

    response = post_image(client, grey(9), "?version=1")

    assert response.status_code == 404
    assert response.get_json()["code"] == "version_not_found"


def test_version_unloaded_before_its_card_was_read(
    client: FlaskClient, served: ServedModel
) -> None:
    post_image(client, grey(9))
    served.versions = (2,)
    served.after_answer = lambda: setattr(served, "versions", (3,))

    assert post_image(client, grey(9)).get_json()["version"] == 3


@pytest.mark.parametrize("query", ["", "?version=1"])
def test_version_that_is_loading_is_not_now(
    client: FlaskClient, served: ServedModel, query: str
) -> None:
    served.versions, served.loading = (), (1,)

    response = post_image(client, grey(9), query)

    assert response.status_code == 503
    assert response.get_json()["code"] == "model_not_ready"


def test_no_request_fails_while_versions_change(
    client: FlaskClient, served: ServedModel
) -> None:
    statuses: list[int] = []

    def ask() -> None:
        for _ in range(20):
            response = post_image(client.application.test_client(), grey(9))
            statuses.append(response.status_code)

    threads = [threading.Thread(target=ask) for _ in range(4)]
    for thread in threads:
        thread.start()
    for version in (2, 3, 4):
        served.sizes[version] = (16 * version, 16)
        served.versions = (version - 1, version)
    for thread in threads:
        thread.join()

    assert statuses == [200] * 80

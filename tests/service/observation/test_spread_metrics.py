"""Live answers are counted as the card's validation photos were."""

from __future__ import annotations

from dataclasses import replace

import pytest
from flask.testing import FlaskClient

from models.wire.client import ModelServerClient
from service.observation.metrics.served import ServedMetrics
from service.served.catalog import Catalog
from tests.pictures import grey
from tests.processes import free_port
from tests.service.conftest import post_image, post_images
from tests.service.observation.scrape import scrape
from tests.service.served_model import ServedModel

COUNTS = "inference_scores_total"


def test_answers_are_counted_by_score_and_label(client: FlaskClient) -> None:
    post_images(client, [grey(0), grey(0), b"no image", grey(255)])

    seen = scrape(client)
    assert seen.value(COUNTS, model="pets", version="1", bin="0") == 2
    assert seen.value(COUNTS, model="pets", version="1", bin="0.9") == 1
    assert seen.value(COUNTS) == 3
    assert seen.value("inference_labels_total", label="cat") == 2
    assert len([each for each in seen.samples if each.name == COUNTS]) == 10


def test_what_was_not_answered_is_not_counted(client: FlaskClient) -> None:
    post_image(client, b"no image")

    assert COUNTS not in scrape(client).names


def test_validation_photos_of_every_card_are_told(client: FlaskClient) -> None:
    seen = scrape(client)

    assert seen.value("model_validation_scores", model="pets", bin="0.9") == 40
    assert seen.value("model_validation_labels", model="pets", label="dog") == 50


def test_cards_are_asked_for_once(client: FlaskClient, served: ServedModel) -> None:
    served.card = replace(served.card, validation_spread=None)

    scrape(client)
    scrape(client)

    assert served.calls.count("describe") == 1
    assert "model_validation_scores" not in scrape(client).names


@pytest.mark.parametrize("name", ["model_server_up", "model_versions_available"])
def test_nothing_is_available_while_the_model_server_is_away(name: str) -> None:
    with ModelServerClient(f"127.0.0.1:{free_port()}") as client:
        catalog = Catalog(client, lambda: ("pets",))
        families = {each.name: each for each in ServedMetrics(catalog).collect()}

    assert [sample.value for sample in families[name].samples] == [0]

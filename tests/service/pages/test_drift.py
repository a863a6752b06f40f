"""The model's page sets live answers beside those for the validation photos."""

from __future__ import annotations

import re
from dataclasses import replace

from flask.testing import FlaskClient

from models.contract import AnswerSpread
from service.pages.drift import compare
from tests.fake_model_server import CARD
from tests.pictures import grey
from tests.service.conftest import post_images
from tests.service.served_model import ServedModel

ALIKE = AnswerSpread((400, 50, 20, 10, 20, 20, 10, 20, 50, 400), (500, 500))
OTHER = AnswerSpread((0, 0, 0, 0, 0, 0, 0, 0, 0, 600), (0, 600))


def words(client: FlaskClient) -> str:
    page = client.get("/models/pets").text
    return " ".join(re.sub(r"<[^>]+>", " ", page).split())


def test_page_shows_live_answers_beside_the_cards(client: FlaskClient) -> None:
    before = words(client)
    post_images(client, [grey(255), grey(255), grey(0)])

    shown = words(client)

    assert "Answers lately" not in before
    assert "3 photos since this service started" in shown
    assert "Too few" in shown
    assert "90 to 100 % 40.0 % 66.7 %" in shown
    assert "cat 50.0 % 33.3 %" in shown


def test_page_of_an_older_card_shows_none(
    client: FlaskClient, served: ServedModel
) -> None:
    served.card = replace(served.card, validation_spread=None)
    post_images(client, [grey(255)])

    assert "Answers lately" not in words(client)


def test_verdict_is_that_of_the_index() -> None:
    alike, other = compare(CARD, ALIKE), compare(CARD, OTHER)

    assert alike is not None
    assert other is not None
    assert {each.verdict for each in alike.comparisons} == {"alike"}
    assert {each.verdict for each in other.comparisons} == {"notably different"}
    assert alike.enough
    assert other.enough


def test_labels_that_are_not_counted_are_not_compared() -> None:
    drift = compare(CARD, replace(ALIKE, labels=(0, 0)))

    assert drift is not None
    assert [each.title for each in drift.comparisons] == ["Scores"]

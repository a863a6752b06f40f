"""A model's card is read as written, or refused; the spread of answers is measured."""

from __future__ import annotations

import json
import math
from dataclasses import asdict, replace

import numpy as np
import pytest

from models.contract import (
    MAX_CARD_LEVELS,
    AnswerSpread,
    ModelCard,
    spread_of,
    stability_index,
)
from models.errors import (
    ModelContractError,
)
from tests.fake_model_server import (
    CARD,
)


def test_two_labels_are_spread_by_the_last_ones_probability() -> None:
    spread = spread_of(np.array([[1.0, 0.0], [0.41, 0.59], [0.0, 1.0]], np.float32))

    assert spread.scores == (1, 0, 0, 0, 0, 1, 0, 0, 0, 1)
    assert spread.labels == (1, 2)
    assert spread.images == 3


def test_more_labels_are_spread_by_the_most_probable_ones() -> None:
    spread = spread_of(np.array([[0.1, 0.75, 0.15], [0.34, 0.33, 0.33]]))

    assert spread.scores == (0, 0, 0, 1, 0, 0, 0, 1, 0, 0)
    assert spread.labels == (1, 1, 0)


def test_index_of_the_same_shares_is_nothing() -> None:
    assert stability_index([10, 20, 30], [1000, 2000, 3000]) < 0.01


def test_index_is_the_divergence_in_both_directions() -> None:
    expected = 2 * (0.7 - 0.3) * math.log(0.7 / 0.3)

    assert stability_index([7e9, 3e9], [3e9, 7e9]) == pytest.approx(expected)


def test_index_of_an_empty_bin_is_finite() -> None:
    assert 0.5 < stability_index([100, 0], [0, 100]) < 50


def test_card_keeps_its_spread() -> None:
    card = replace(CARD, validation_spread=AnswerSpread((1,) * 10, (4, 6)))

    assert ModelCard.from_json(card.to_json()) == card


def test_card_from_before_spreads_has_none() -> None:
    old = asdict(CARD)
    del old["validation_spread"]

    assert ModelCard.from_json(json.dumps(old)).validation_spread is None


@pytest.mark.parametrize("spread", [{"scores": [1] * 9, "labels": [4, 5]}, 7])
def test_spread_of_another_form_is_no_card(spread: object) -> None:
    card = {**asdict(CARD), "validation_spread": spread}

    with pytest.raises(ModelContractError, match="export it again"):
        ModelCard.from_json(json.dumps(card))


def test_card_survives_json_and_ignores_what_it_does_not_know() -> None:
    text = CARD.to_json().replace('"schema": 1', '"schema": 1, "colour": "red"')

    assert ModelCard.from_json(text) == CARD


@pytest.mark.parametrize(
    "text",
    [
        *("", "[]", "{}"),
        CARD.to_json().replace('"schema": 1', '"schema": 2'),
        replace(CARD, image_size=(0, 32)).to_json(),
    ],
)
def test_card_that_cannot_be_read_breaks_the_contract(text: str) -> None:
    with pytest.raises(ModelContractError, match="export it again"):
        ModelCard.from_json(text)


def test_labels_of_a_card_are_in_one_unicode_form() -> None:
    text = CARD.to_json().replace(CARD.labels[0], "cafe\u0301 ")

    assert ModelCard.from_json(text).labels[0] == "caf\xe9"


def test_deep_card_is_no_card() -> None:
    with pytest.raises(ModelContractError, match="nested too deeply"):
        ModelCard.from_json("[" * 100_000)


def test_card_that_could_not_be_written_again_is_no_card() -> None:
    deep = "[" * MAX_CARD_LEVELS + "]" * MAX_CARD_LEVELS
    text = CARD.to_json().replace('"metrics": {}', f'"metrics": {{"a": {deep}}}')

    with pytest.raises(ModelContractError, match="32 levels"):
        ModelCard.from_json(text)

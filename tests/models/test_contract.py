"""Cards and known answers are read as written, or refused; answers are compared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from dataclasses import asdict, replace

import numpy as np
import pytest

from models.contract import (
    MAX_CARD_LEVELS,
    AnswerSpread,
    KnownAnswers,
    ModelCard,
    Tolerance,
    spread_of,
    stability_index,
    tolerance_of,
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


def test_card_from_before_spreads_and_precisions_has_none() -> None:
    old = asdict(CARD)
    del old["validation_spread"], old["precisions"]

    card = ModelCard.from_json(json.dumps(old))
    assert card.validation_spread is None
    assert card.precisions == {}


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


def known_answers() -> KnownAnswers:
    return KnownAnswers(
        ("cat/1.jpg", "dog/2.jpg"),
        np.arange(2 * 4 * 4 * 3, dtype=np.uint8).reshape(2, 4, 4, 3),
        np.array([[0.25, 0.75], [1.0, 0.0]], np.float32),
        np.array([[0.0, 1.1], [40.0, -40.0]], np.float32),
    )


def test_known_answers_are_read_back_from_stable_bytes() -> None:
    known = known_answers()
    content = known.to_bytes()

    read = KnownAnswers.from_bytes(content)

    assert read.photos == known.photos
    assert np.array_equal(read.pixels, known.pixels)
    assert np.array_equal(read.probabilities, known.probabilities)
    assert np.array_equal(read.logits, known.logits)
    assert read.to_bytes() == content


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: content[: len(content) // 2],
        lambda content: content.replace(b"logits", b"lobits"),
        lambda content: content.replace(b"\x05\x06\x07\x08", b"\x05\x06\x07\x09"),
        lambda content: replace(known_answers(), photos=("one.jpg",)).to_bytes(),
    ],
    ids=["empty", "cut", "renamed", "changed", "short"],
)
def test_damaged_known_answers_are_refused(damage: Callable[[bytes], bytes]) -> None:
    with pytest.raises(ModelContractError, match="export it again"):
        KnownAnswers.from_bytes(damage(known_answers().to_bytes()))


def test_deviation_names_the_photo_that_exceeds_the_tolerance_most() -> None:
    known, tolerance = known_answers(), Tolerance(0.01, 0.1)
    probability = known.probabilities + np.array([[0.001], [0.02]], np.float32)
    logit = known.logits + np.array([[0.22], [8.0]], np.float32)

    by_probability = known.largest_deviation(probability, known.logits, tolerance)
    by_logit = known.largest_deviation(known.probabilities, logit, tolerance)
    same = known.largest_deviation(known.probabilities, known.logits, tolerance)

    assert (by_probability.photo, by_probability.is_allowed) == ("dog/2.jpg", False)
    assert by_probability.probability == pytest.approx(0.02, rel=1e-4)
    assert (by_logit.photo, by_logit.is_allowed) == ("cat/1.jpg", False)
    assert by_logit.logit == pytest.approx(0.2, rel=1e-4)
    assert same.is_allowed


def test_logits_that_are_no_numbers_deviate() -> None:
    known = known_answers()
    logits = known.logits.copy()
    logits[1, 0] = np.nan

    found = known.largest_deviation(known.probabilities, logits, Tolerance(1, 1))

    assert (found.photo, found.is_allowed) == ("dog/2.jpg", False)


def test_answers_for_other_labels_are_no_deviation() -> None:
    known = known_answers()
    three = np.zeros((2, 3), np.float32)

    with pytest.raises(ModelContractError, match=r"\(2, 3\)"):
        known.largest_deviation(three, three, Tolerance(1, 1))


def test_tolerance_grows_as_bits_go() -> None:
    exact, half, brain = map(tolerance_of, ("float32", "float16", "bfloat16"))

    assert exact.probability < half.probability < brain.probability
    assert tolerance_of("int8") == exact
    assert tolerance_of("float32", on_gpu=True) == half

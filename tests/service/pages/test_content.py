"""The content of the pages about models: cards, gaps in old ones, drift."""

from __future__ import annotations

import re
from dataclasses import replace
from typing import Any

import pytest
from flask.testing import FlaskClient

from models.contract import AnswerSpread
from service.pages.content import (
    MAX_LABELS,
    compare_spreads,
    read_confusion,
    readable_card,
)
from tests.fake_model_server import CARD
from tests.pictures import grey
from tests.service.conftest import post_images
from tests.service.served_model import ServedModel


def test_figures_are_those_of_validation() -> None:
    validation = {"accuracy": 0.8727, "log_loss_clipped": 0.30009, "images": 1393}
    readable = readable_card(replace(CARD, metrics={"validation": validation}))

    assert [(each.name, each.value) for each in readable.figures] == [
        ("Accuracy", "87.3 %"),
        ("Log loss", "0.300"),
    ]
    assert readable.images == "1,393"


def test_clipping_is_a_sentence() -> None:
    assert readable_card(CARD).clipping == (
        "Probabilities stay between 5 % and 95 %. Chosen by fixed."
    )
    assert "not clipped" in readable_card(replace(CARD, clip_bound=None)).clipping


ODD: dict[str, dict[str, Any]] = {
    "no mapping": {"validation": [1, 2]},
    "texts": {"validation": {"accuracy": "high", "images": "many"}},
    "infinite": {"validation": {"accuracy": float("inf")}},
    "ragged matrix": {"validation": {"confusion_matrix": [[1, 2], [3]]}},
    "matrix of texts": {"validation": {"confusion_matrix": [["a", "b"], ["c", "d"]]}},
    "another size": {"validation": {"confusion_matrix": [[1]]}},
}


@pytest.mark.parametrize("case", ODD)
def test_odd_metrics_are_left_out(case: str) -> None:
    readable = readable_card(replace(CARD, metrics=ODD[case], training={"counts": 7}))

    assert (readable.figures, readable.confusion, readable.counts) == ((), None, {})


def test_counts_keep_the_labels_order() -> None:
    counts = {"train": {"dog": 3, "cat": 2}, "valid": {"cat": "few"}}
    readable = readable_card(replace(CARD, training={"counts": counts}))

    assert {part: [*row] for part, row in readable.counts.items()} == {
        "train": ["cat", "dog"]
    }


def test_options_members_and_pseudo_labels_are_shown() -> None:
    training = {
        "options": {"batch_size": "8"},
        "parameters": {"all": 30, "trained": 20},
        "members": 3,
        "pseudo_labelled": {"photos": 1200, "teacher": "pets-1"},
    }
    readable = readable_card(replace(CARD, recipe="lenet5", training=training))

    assert readable.recipe == "lenet5 with --batch-size 8"
    assert readable.parameters == "20 of 30 were trained, in each of 3 members"
    assert readable.pseudo_labels.startswith(
        "1,200 unlabelled photos, as the run pets-1"
    )
    assert readable_card(replace(CARD, training={"options": 7})).pseudo_labels == ""


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"all": 14_985_922, "trained": 4352}, "4,352 of 14,985,922 were trained"),
        ({"all": "many", "trained": 4352}, ""),
        ([1, 2], ""),
    ],
)
def test_parameters_are_those_that_were_trained(counts: object, text: str) -> None:
    readable = readable_card(replace(CARD, training={"parameters": counts}))

    assert readable.parameters == text


def test_cells_are_shaded_by_their_row() -> None:
    confusion = read_confusion([[8, 2], [0, 5]], ("cat", "dog"))

    assert confusion is not None
    levels = [[cell.level for cell in cells] for _, cells in confusion.rows]
    assert levels == [[4, 1], [0, 5]]
    assert confusion.mistakes == (("cat", "dog", 2),)


def test_matrix_of_many_labels_is_shown_by_its_worst_pairs() -> None:
    size = MAX_LABELS + 1
    matrix = [[row * (row != column) for column in range(size)] for row in range(size)]
    confusion = read_confusion(matrix, [f"c{number}" for number in range(size)])

    assert confusion is not None
    assert confusion.rows == ()
    assert confusion.mistakes[0] == ("c20", "c0", 20)


COMPARED: dict[str, Any] = {
    "summary": "int8 beside float32",
    "processor": "Abacus 3",
    "figures": [
        {
            "precision": "int8",
            "accuracy": 0.8702,
            "log_loss": 0.3121,
            "images_per_second": {"1": 20.04, "32": 31.2},
        },
        {
            "precision": "float32",
            "accuracy": None,
            "log_loss": None,
            "images_per_second": {"1": 6.8, "32": 8.1},
        },
    ],
}


def test_page_shows_the_precisions_that_the_export_compared(
    client: FlaskClient, served: ServedModel
) -> None:
    before = words(client)
    served.card = replace(served.card, version=2, precisions=COMPARED)
    served.versions = (2,)

    shown = words(client)

    assert "Precision and speed" not in before
    assert "int8 beside float32. Measured on Abacus 3." in shown
    assert "Images/s, batch 1 Images/s, batch 32" in shown
    assert "int8 87.02 % 0.3121 20.0 31.2 float32 - - 6.8 8.1" in shown


@pytest.mark.parametrize(
    "odd",
    [
        *({}, [1], {"figures": 7}, {"figures": []}, {"figures": [7]}),
        {"figures": [{"images_per_second": {"1": 2}}, {"images_per_second": {}}]},
    ],
)
def test_odd_precisions_are_left_out(odd: Any) -> None:
    assert readable_card(replace(CARD, precisions=odd)).precisions is None


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
    alike, other = compare_spreads(CARD, ALIKE), compare_spreads(CARD, OTHER)

    assert alike is not None
    assert other is not None
    assert {each.verdict for each in alike.comparisons} == {"alike"}
    assert {each.verdict for each in other.comparisons} == {"notably different"}
    assert alike.enough
    assert other.enough


def test_labels_that_are_not_counted_are_not_compared() -> None:
    drift = compare_spreads(CARD, replace(ALIKE, labels=(0, 0)))

    assert drift is not None
    assert [each.title for each in drift.comparisons] == ["Scores"]

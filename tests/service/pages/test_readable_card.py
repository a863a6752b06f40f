"""Cards on a page: figures and confusion as export writes them, nothing of odd ones."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from service.pages.confusion import MAX_LABELS, read_confusion
from service.pages.readable_card import read_card
from tests.fake_model_server import CARD


def test_figures_are_those_of_validation() -> None:
    validation = {"accuracy": 0.8727, "log_loss_clipped": 0.30009, "images": 1393}
    readable = read_card(replace(CARD, metrics={"validation": validation}))

    assert [(each.name, each.value) for each in readable.figures] == [
        ("Accuracy", "87.3 %"),
        ("Log loss", "0.300"),
    ]
    assert readable.images == "1,393"


def test_clipping_is_a_sentence() -> None:
    assert read_card(CARD).clipping == (
        "Probabilities stay between 5 % and 95 %. Chosen by fixed."
    )
    assert "not clipped" in read_card(replace(CARD, clip_bound=None)).clipping


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
    readable = read_card(replace(CARD, metrics=ODD[case], training={"counts": 7}))

    assert (readable.figures, readable.confusion, readable.counts) == ((), None, {})


def test_counts_keep_the_labels_order() -> None:
    counts = {"train": {"dog": 3, "cat": 2}, "valid": {"cat": "few"}}
    readable = read_card(replace(CARD, training={"counts": counts}))

    assert {part: [*row] for part, row in readable.counts.items()} == {
        "train": ["cat", "dog"]
    }


def test_options_members_and_pseudo_labels_are_told() -> None:
    training = {
        "options": {"batch_size": "8"},
        "parameters": {"all": 30, "trained": 20},
        "members": 3,
        "pseudo_labelled": {"photos": 1200, "teacher": "pets-1"},
    }
    readable = read_card(replace(CARD, recipe="lenet5", training=training))

    assert readable.recipe == "lenet5 with --batch-size 8"
    assert readable.parameters == "20 of 30 were trained, in each of 3 members"
    assert readable.pseudo_labels.startswith(
        "1,200 unlabelled photos, as the run pets-1"
    )
    assert read_card(replace(CARD, training={"options": 7})).pseudo_labels == ""


@pytest.mark.parametrize(
    ("counts", "text"),
    [
        ({"all": 14_985_922, "trained": 4352}, "4,352 of 14,985,922 were trained"),
        ({"all": "many", "trained": 4352}, ""),
        ([1, 2], ""),
    ],
)
def test_parameters_are_those_that_were_trained(counts: object, text: str) -> None:
    readable = read_card(replace(CARD, training={"parameters": counts}))

    assert readable.parameters == text


def test_cells_are_shaded_by_their_row() -> None:
    confusion = read_confusion([[8, 2], [0, 5]], ("cat", "dog"))

    assert confusion is not None
    levels = [[cell.level for cell in cells] for _, cells in confusion.rows]
    assert levels == [[4, 1], [0, 5]]
    assert confusion.mistakes == (("cat", "dog", 2),)


def test_matrix_of_many_labels_is_told_by_its_worst_pairs() -> None:
    size = MAX_LABELS + 1
    matrix = [[row * (row != column) for column in range(size)] for row in range(size)]
    confusion = read_confusion(matrix, [f"c{number}" for number in range(size)])

    assert confusion is not None
    assert confusion.rows == ()
    assert confusion.mistakes[0] == ("c20", "c0", 20)

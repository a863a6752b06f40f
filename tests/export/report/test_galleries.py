"""Which photos get into the galleries."""

from __future__ import annotations

import numpy as np

from export.report.galleries import (
    MOST_LABELS,
    choose_galleries,
    choose_most_wrong,
    choose_samples,
)

PROBABILITIES = np.array(
    [[0.9, 0.1], [0.6, 0.4], [0.2, 0.8], [0.45, 0.55], [0.95, 0.05], [0.3, 0.7]]
)
CLASSES = np.array([0, 0, 1, 1, 1, 0])


def test_photos_are_ordered_by_how_sure_the_answer_is() -> None:
    found = choose_galleries(PROBABILITIES, CLASSES, ["cat", "dog"])

    assert [gallery.photos for gallery in found.most_correct] == [(0, 1), (2, 3)]
    assert [gallery.photos for gallery in found.most_wrong] == [(4,), (5,)]
    assert found.uncertain.photos == (3, 1, 5, 2)
    assert set(found.correct.photos) == {0, 1, 2, 3}
    assert set(found.wrong.photos) == {4, 5}


def test_random_galleries_depend_on_the_seed_alone() -> None:
    first = choose_galleries(PROBABILITIES, CLASSES, ["cat", "dog"], seed=4)

    assert first == choose_galleries(PROBABILITIES, CLASSES, ["cat", "dog"], seed=4)


def test_with_many_labels_those_called_wrongly_most_are_shown() -> None:
    labels = [f"label {number}" for number in range(40)]
    probabilities = np.eye(40)[[33] * 5 + [0] * 2]
    classes = np.array([1, 2, 3, 4, 5, 0, 6])

    found = choose_galleries(probabilities, classes, labels)

    assert len(found.most_wrong) == MOST_LABELS
    assert "Most wrong: called label 33" in [each.title for each in found.most_wrong]


def test_nothing_wrong_leaves_galleries_empty() -> None:
    found = choose_galleries(PROBABILITIES[:2], CLASSES[:2], ["cat", "dog"])

    assert found.wrong.photos == ()
    assert choose_most_wrong(PROBABILITIES[:2], CLASSES[:2], 5) == []


def test_most_wrong_comes_first() -> None:
    assert choose_most_wrong(PROBABILITIES, CLASSES, 1) == [4]


def test_sample_of_a_class_is_the_photo_that_looks_most_like_it() -> None:
    assert choose_samples(PROBABILITIES, CLASSES) == {0: 0, 1: 2}
    assert choose_samples(PROBABILITIES[:2], CLASSES[:2]) == {0: 0}

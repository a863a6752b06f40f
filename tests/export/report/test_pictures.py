"""Pictures of the report: which photos the galleries show, and heat maps."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from export.report.content import ReportContent
from export.report.pictures import (
    MOST_LABELS,
    choose_galleries,
    choose_most_wrong,
    choose_samples,
    enlarge,
    heat_colours,
    overlay_heat,
    shrink,
    signed_colours,
    stretch,
)
from tests.export.report.reports import section, some_photos

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


def test_galleries_say_what_is_called_what(tmp_path: Path) -> None:
    markup = section(ReportContent("pets", some_photos(tmp_path)), "photos")

    for title in (
        "Correct, at random",
        "Wrong, at random",
        "Most correct: cat",
        "Most wrong: called dog",
        "Most uncertain",
    ):
        assert title in markup
    assert markup.count("data:image/jpeg;base64,") >= 12
    assert ": wrong, is cat" in markup


def test_heat_grows_lighter_from_cold_to_hot() -> None:
    lightness = heat_colours(np.linspace(0, 1, 50)) @ [0.299, 0.587, 0.114]

    assert (np.diff(lightness) > 0).all()


def test_photo_shows_through_where_it_is_cold() -> None:
    pixels = np.full((8, 8, 3), 90, np.uint8)

    warm = overlay_heat(pixels, np.array([[0.0, 1.0]]))

    assert (warm[:, 0] == 90).all()
    assert (warm[:, -1] != 90).any()
    assert (overlay_heat(pixels, np.zeros((2, 2))) == 90).all()


def test_maps_keep_their_means_when_resized() -> None:
    values = np.arange(16.0).reshape(4, 4)

    assert shrink(values, 2).tolist() == [[2.5, 4.5], [10.5, 12.5]]
    assert shrink(values, 8).tolist() == values.tolist()
    assert enlarge(values, (8, 8)).mean() == pytest.approx(values.mean())
    assert enlarge(values, (4, 4)) == pytest.approx(values)


def test_flat_maps_are_dark_and_zero_is_grey() -> None:
    assert (stretch(np.full((2, 2), 7.0)) == 0).all()
    assert stretch(np.array([1.0, 3.0])).tolist() == [0, 1]
    assert signed_colours(np.array([-2.0, 0.0, 1.0])).tolist() == [0, 128, 191]

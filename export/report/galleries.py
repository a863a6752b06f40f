"""Which photos to look at: the five galleries of the fast.ai course."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

PHOTOS_EACH: Final = 4
MOST_LABELS: Final = 12
"""With more labels, only those with the most mistakes get galleries of their own."""


@dataclass(frozen=True)
class Gallery:
    """A title and the photos (by index) that belong under it."""

    title: str
    photos: tuple[int, ...]


@dataclass(frozen=True)
class Galleries:
    """The five; those by class hold one gallery for each label that is shown."""

    correct: Gallery
    wrong: Gallery
    most_correct: tuple[Gallery, ...]
    most_wrong: tuple[Gallery, ...]
    uncertain: Gallery


def choose_galleries(
    probabilities: NDArray[Any],
    classes: NDArray[np.int64],
    labels: Sequence[str],
    seed: int = 0,
) -> Galleries:
    """Random correct and incorrect, most correct and incorrect by class, most uncertain.

    *probabilities* [N, K], true *classes* [N]. The labels of the galleries by class are
    the predicted ones, as in the course: "said cat, and was sure".
    """
    generator = np.random.default_rng(seed)
    predicted = probabilities.argmax(axis=1)
    right = predicted == classes
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    shown = _labels_shown(predicted[~right], len(labels))

    def of_label(number: int, chosen: NDArray[np.bool_]) -> NDArray[np.int64]:
        return np.asarray(surest[(chosen & (predicted == number))[surest]])

    return Galleries(
        _gallery("Correct, at random", generator.permutation(np.flatnonzero(right))),
        _gallery("Wrong, at random", generator.permutation(np.flatnonzero(~right))),
        tuple(
            _gallery(f"Most correct: {labels[each]}", of_label(each, right))
            for each in shown
        ),
        tuple(
            _gallery(f"Most wrong: called {labels[each]}", of_label(each, ~right))
            for each in shown
        ),
        _gallery("Most uncertain", surest[::-1]),
    )


def choose_most_wrong(
    probabilities: NDArray[Any], classes: NDArray[np.int64], count: int
) -> list[int]:
    """The *count* photos that are called something else with the most confidence."""
    surest = np.argsort(-probabilities.max(axis=1), kind="stable")
    wrong = probabilities.argmax(axis=1) != classes
    return [int(index) for index in surest[wrong[surest]][:count]]


def choose_samples(
    probabilities: NDArray[Any], classes: NDArray[np.int64]
) -> dict[int, int]:
    """For each class with photos, the photo that is given to it with most confidence."""
    samples = {}
    for number in range(probabilities.shape[1]):
        members = np.flatnonzero(classes == number)
        if len(members):
            surest = members[probabilities[members, number].argmax()]
            samples[number] = int(surest)
    return samples


def _labels_shown(called: NDArray[np.int64], labels: int) -> list[int]:
    mistakes = np.bincount(called, minlength=labels)
    most = np.argsort(-mistakes, kind="stable")[:MOST_LABELS]
    return sorted(int(each) for each in most)


def _gallery(title: str, order: NDArray[Any]) -> Gallery:
    return Gallery(title, tuple(int(index) for index in order[:PHOTOS_EACH]))
